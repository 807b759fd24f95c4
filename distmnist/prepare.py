"""Prepares a data set for streaming: writes it as shards with random access.

Usage: python -m distmnist.prepare [flags] SOURCE DIRECTORY

SOURCE is what --dataset of distmnist.train takes, and so is DIRECTORY afterwards. If it
is interrupted, the same command continues it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from absl import logging
from tqdm import tqdm

from distmnist import cli
from distmnist.core import registry
from distmnist.core.config import Config
from distmnist.core.errors import InputError, RunError
from distmnist.core.options import option, reuse, validate
from distmnist.core.rules import one_of
from distmnist.data import loading
from distmnist.data.shards import index, parallel
from distmnist.data.shards.examples import Unprepared, of_dataset
from distmnist.data.shards.preparation import Preparation
from distmnist.data.sources import path
from distmnist.distributed import cores
from distmnist.distributed.cluster import Cluster


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of this program."""

    paths: tuple[str, ...] = option(
        (),
        "SOURCE and DIRECTORY: the data set, and where to write it.",
        cli.INPUT,
        path=True,
        required=True,
        positional=True,
    )
    target: str = reuse(Config, "target", group=cli.INPUT)
    task: str = reuse(Config, "task", group=cli.INPUT)
    image_size: tuple[int, ...] = reuse(Config, "image_size", group=cli.INPUT)
    input_data_dir: str = reuse(Config, "input_data_dir", group=cli.INPUT)
    skip_bad: bool = option(
        False,
        "Leave out examples that cannot be read, naming each, instead of ending.",
        cli.INPUT,
    )
    compression: str = option(
        "none",
        "Compression of each example; zlib takes several times as long to write.",
        cli.OUTPUT,
        one_of(*index.COMPRESSIONS),
    )
    shuffle: bool = option(
        False,
        "Write training examples in random order, for --shuffle_block in training: of "
        "directories of images, neighbours are of one class otherwise.",
        cli.OUTPUT,
    )
    progress: bool | None = reuse(
        Config,
        "progress",
        group=cli.OUTPUT,
        help="Show a progress bar; by default, on a terminal.",
    )

    def __post_init__(self) -> None:
        """Checks all values."""
        validate(self)
        if len(self.paths) != 2:
            raise InputError(
                f"{len(self.paths)} arguments: give two, SOURCE and DIRECTORY"
            )


def main() -> None:
    """Prepares a data set."""
    cli.run(Options, __doc__, _prepare, lambda *_: None, single_process=True)


def _prepare(options: Options, cluster: Cluster) -> None:
    directory = Path(options.paths[1])
    unprepared = _find(options)
    writing = Preparation(
        directory,
        unprepared,
        options.compression,
        options.shuffle,
        options.skip_bad,
    )
    with _disk_errors(directory):
        parts = writing.begin()
        if parts is None:
            logging.info("%s: prepared already", directory)
            return
        total = sum(split.size for split in unprepared.splits.values())
        done = total - sum(part.last - part.first for part in parts)
        # None: unless this is a terminal.
        hidden = None if options.progress is None else not options.progress
        processes = min(cores.available(), len(parts)) if unprepared.is_slow else 1
        tqdm.monitor_interval = 0  # no thread: this process may be forked
        bar = tqdm(initial=done, total=total, unit="examples", disable=hidden)
        with bar, contextlib.closing(writing):
            for written in parallel.write(writing, parts, processes or 1, bar.update):
                writing.note(written)
            result = writing.finish()
    counts = ", ".join(
        f"{sum(shard.examples for shard in shards)} {name}"
        for name, shards in result.splits.items()
    )
    logging.info("%s: %s examples; give it as --dataset", directory, counts)


def _find(options: Options) -> Unprepared:
    """Returns the data set that SOURCE names."""
    fields = ("target", "task", "image_size", "input_data_dir")
    config = Config(
        dataset=options.paths[0],
        **{field: getattr(options, field) for field in fields},
    )
    cli.check_names(config)
    is_path = registry.is_path(config.dataset, registry.DATASETS)
    if is_path and (images := path.open_images(config)):
        return images
    source = loading.find_source(config)
    source.prepare()
    return of_dataset(source.load())


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """Reports that the directory cannot be written to."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{directory}: cannot be written ({error.strerror or error}); free some "
            "space, or choose another directory: the same command continues"
        ) from None


if __name__ == "__main__":
    main()
