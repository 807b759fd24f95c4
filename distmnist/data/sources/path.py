"""--dataset=PATH: data in files, whose form decides how they are read."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.registry import DATASETS
from distmnist.data.dataset import Dataset
from distmnist.data.shards import index
from distmnist.data.shards.examples import Unprepared
from distmnist.data.sources import Source, array_files, folders, idx_folder, tables
from distmnist.data.sources.function import FunctionSource
from distmnist.data.sources.prepared import Prepared

_FORMS = (
    "a directory with a sub-directory of images for each class, x_train.npy and "
    "y_train.npy, train.csv or four IDX files, or one of distmnist.prepare; or an "
    ".npz, .csv or .parquet file"
)
# Flags that are about some of the forms.
_FLAGS = ("target", "task", "image_size")


class _Form(NamedTuple):
    """A form of data in files.

    Attributes:
        name: what it is, in words.
        load: reads the files.
        flags: those of _FLAGS that are about it.
    """

    name: str
    load: Callable[[Path, Config], Dataset]
    flags: tuple[str, ...]


def _load_images(path: Path, config: Config) -> Dataset:
    # Deferred: Pillow, which most runs do not need.
    from distmnist.data.sources import image_folder

    return image_folder.load(path, config)


_IDX = _Form("IDX files", idx_folder.load, ())
_IMAGES = _Form("directories of images", _load_images, ("image_size",))
_ARRAYS = _Form("arrays", array_files.load, ("task",))
_TABLES = _Form("tables", tables.load, ("target", "task"))


def find(config: Config) -> Source:
    """Returns the source of the file or directory that --dataset names.

    Args:
        config: run configuration.

    Raises:
        InputError: there is no such path, or it is of no known form.
    """
    path, label = _path(config)
    with contextlib.suppress(OSError):  # it is reported when the data are read
        if index.is_prepared(path):
            check_flags(path, "prepared data", (), config)
            return Prepared(path, config.local_dir)
        _find_form(path, label)
    if config.data_residency == "stream" or config.local_dir:
        raise InputError(
            f"flags --data_residency and --local_dir: {path} is not prepared; prepare "
            "it by python -m distmnist.prepare, and name what that wrote"
        )
    return FunctionSource(label, functools.partial(_load, path, config, label))


def open_images(config: Config) -> Unprepared | None:
    """Returns the images that --dataset names, not read yet; None if it names others.

    Args:
        config: run configuration.

    Raises:
        InputError: there is no such path, or its images are invalid.
    """
    path, label = _path(config)
    with _reported(path):
        if index.is_prepared(path) or _find_form(path, label) is not _IMAGES:
            return None
        check_flags(path, _IMAGES.name, _IMAGES.flags, config)
        from distmnist.data.sources import image_folder

        return image_folder.open_images(path, config)


def _load(path: Path, config: Config, label: str) -> Dataset:
    """Reads a file or a directory.

    Raises:
        InputError: there is no such path, it is of no known form, or it cannot be read.
    """
    with _reported(path):
        form = _find_form(path, label)
        check_flags(path, form.name, form.flags, config)
        return form.load(path, config)


def _path(config: Config) -> tuple[Path, str]:
    """Returns the path that --dataset names, and the flag for messages."""
    path = Path(os.path.expanduser(config.dataset))
    return path, f"flag --dataset={' '.join(config.dataset.split())}"


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Reports that data cannot be read.

    Raises:
        InputError: they cannot.
    """
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise InputError(
            f"{error.filename or path} cannot be read ({reason}); make it readable"
        ) from error
    except MemoryError:
        raise InputError(
            f"{path} does not fit into memory; give fewer or smaller examples"
        ) from None


def check_flags(
    path: Path | str, form: str, about: tuple[str, ...], config: Config
) -> None:
    """Checks that no flag is given that is not about a form of data.

    Args:
        path: path or URL of the data.
        form: their form, in words.
        about: flags that are about it.
        config: run configuration.

    Raises:
        InputError: one is given.
    """
    for flag in _FLAGS:
        default = Config.__dataclass_fields__[flag].default
        if flag not in about and getattr(config, flag) != default:
            raise InputError(
                f"flag --{flag}: not for {form}, which {path} is; leave it out"
            )


def _find_form(path: Path, label: str) -> _Form:
    if idx_folder.is_prefix(path):
        return _IDX
    if not path.exists():
        raise InputError(
            f"{label}: there is no such path; give that of data, "
            f"{', '.join(DATASETS)}, or package.module:function"
        )
    if not path.is_dir():
        forms = {".npz": _ARRAYS, **dict.fromkeys(tables.SUFFIXES, _TABLES)}
        if path.suffix not in forms:
            raise InputError(f"{label}: is of no known form; give {_FORMS}")
        return forms[path.suffix]
    names = [entry.name for entry in folders.entries(path)]
    found = [
        form
        for form, holds in (
            (_IDX, bool(idx_folder.find_prefixes(path))),
            (_ARRAYS, any(array_files.is_name(name) for name in names)),
            (_TABLES, any(tables.is_name(name) for name in names)),
        )
        if holds
    ]
    if len(found) > 1:
        raise InputError(
            f"{label}: holds both {found[0].name} and {found[1].name}; give a "
            "directory with one of them"
        )
    if found:
        return found[0]
    if any(entry.is_dir() for entry in folders.entries(path)):
        return _IMAGES
    raise InputError(f"{label}: holds no data of a known form; give {_FORMS}")
