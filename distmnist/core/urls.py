"""URLs in flags, and messages without the secrets that URLs may hold."""

from __future__ import annotations

import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Parts of URLs in a message. A user without a password is no secret in some protocols:
# abfs://container@account/.
_USER = re.compile(
    r"""(?P<http>\bhttps?://)[^\s'"<>/?#]*@|(?P<other>://)[^\s'"<>/?#@:]*:[^\s'"<>?#]*@""",
    re.IGNORECASE,
)
_QUERY = re.compile(r"""(://[^\s'"<>?#]*)[?#][^\s'"<>]*""")


def is_url(text: str) -> bool:
    """Returns whether a text is a URL, as opposed to a path or package.module:name."""
    return bool(_URL.match(text))


def without_secrets(text: str) -> str:
    """Returns a text whose URLs have no passwords, queries or fragments any more.

    Args:
        text: a message, or a URL; signatures, tokens and keys are in these parts.
    """
    return _QUERY.sub(r"\1?...", _USER.sub(_hidden_user, text))


def has_secrets(text: str) -> bool:
    """Returns whether a text is a URL with parts that may be secret."""
    return is_url(text) and without_secrets(text) != text


def _hidden_user(match: re.Match[str]) -> str:
    return f"{match['http'] or match['other']}...@"
