"""Copies of this checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.launching import ROOT


def copy(target: Path) -> None:
    """Copies the files that git tracks, or would, to a directory.

    Args:
        target: directory, created if missing.
    """
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, found.stdout.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
