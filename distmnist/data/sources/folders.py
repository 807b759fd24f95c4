"""What the forms of data in directories share."""

from __future__ import annotations

from pathlib import Path

from absl import logging

from distmnist.core.errors import InputError

# Names of the validation split that other programs use.
_VALIDATION = ("val", "valid", "dev")


def entries(directory: Path) -> list[Path]:
    """Returns the visible entries of a directory, sorted: the same on all systems.

    Args:
        directory: the directory.

    Raises:
        OSError: it cannot be read.
    """
    visible = (entry for entry in directory.iterdir() if entry.name[0] != ".")
    return sorted(visible, key=lambda entry: entry.name)


def check_split_names(paths: list[Path], prefix: str = "") -> None:
    """Checks that no split has another program's name, and would be ignored.

    Args:
        paths: files or directories, named by the split.
        prefix: what comes before the split in their names.

    Raises:
        InputError: one has.
    """
    for path in paths:
        if path.stem in [prefix + name for name in _VALIDATION]:
            raise InputError(
                f"{path}: not the name of a split; rename it to "
                f"{prefix}validation{path.suffix}"
            )


def warn_ignored(paths: list[Path], kind: str) -> None:
    """Logs that files are not part of the data.

    Args:
        paths: the files; nothing is logged if there are none.
        kind: what they are not, in words.
    """
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        logging.warning("Ignored, not %s: %s%s", kind, paths[0], more)
