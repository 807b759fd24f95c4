"""The Markdown pages, and the commands in them.

A block of ```bash is run as it stands, unless an HTML comment before it is

    <!-- not tested: REASON -->    nothing is run
    <!-- server: URL -->           runs in the background until the URL answers

A block of ```python is run too, or written to a file if it has a title="FILE".
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from tests.launching import ROOT

# In the order of reading.
DOCS = [
    f"docs/{name}"
    for name in re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text())
]
PAGES = ["README.md", "CONTRIBUTING.md", *DOCS]

_BLOCK = re.compile(
    r'(?:^<!-- (?P<mark>.*?) -->\n)?^```(?P<kind>\w+)(?: title="(?P<title>.*?)")?\n'
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code in a page.

    Attributes:
        mark: what the HTML comment before it says; empty without one.
        kind: language.
        title: file name; empty without one.
        text: content.
    """

    mark: str
    kind: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """Returns the blocks of a page."""
    text = (ROOT / page).read_text()
    return [
        Block(**{key: value or "" for key, value in match.groupdict().items()})
        for match in _BLOCK.finditer(text)
    ]


def launches(page: str) -> bool:
    """Returns whether a page launches several ranks."""
    words = re.findall(r"[\w.-]+", commands(page))
    return not {"horovodrun", "mpirun", "local.sh", "elastic.sh"}.isdisjoint(words)


def script(page: str) -> str:
    """Returns a bash script that does what a page says."""
    trap = "trap 'echo \"failed, with status $?: $BASH_COMMAND\" >&2' ERR"
    return "\n".join(["set -euE -o pipefail", trap, commands(page)])


def commands(page: str) -> str:
    """Returns the commands of a page; empty if it has none."""
    lines = []
    for block in blocks(page):
        if block.kind == "python":
            target = f"cat >{block.title}" if block.title else "python -"
            lines.append(f"{target} <<'END'\n{block.text}END")
        elif block.kind == "bash" and block.mark.startswith("server: "):
            url = shlex.quote(block.mark.removeprefix("server: "))
            lines.append(f"{block.text.strip()} &")
            lines.append(f"python -m tests.docs.until_answers {url}; kill $!")
        elif block.kind == "bash" and not block.mark:
            lines.append(block.text)
    return "\n".join(lines)
