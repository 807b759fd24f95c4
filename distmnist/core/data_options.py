"""Options of the data; they are fields of `Config`."""

from __future__ import annotations

import dataclasses

from distmnist.core.options import option
from distmnist.core.registry import DATASETS, describe
from distmnist.core.rules import IMAGE_SIZE, SPLIT_SIZES, URLS, at_least, one_of

TASKS = ("auto", "classification", "regression")
RESIDENCIES = ("auto", "memory", "stream")

DATA = "Data"
"""Heading of the help."""


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """What is trained on."""

    dataset: str = option(
        "auto",
        f"Data set. {describe(DATASETS)}; or a path: a directory of images by class, "
        "of .npy files or of IDX files, an .npz file, a .csv or .parquet table, or "
        "prepared data, also their URL; or your own, package.module:function, which "
        "returns a Dataset.",
        DATA,
        required=True,
    )
    target: str = option(
        "",
        "Column of a table that is predicted; all others are features.",
        DATA,
    )
    task: str = option(
        "auto",
        "What the targets of a table or of arrays are: classes (classification) or "
        "numbers (regression); auto: names and integers are classes, unless a table's "
        "column has more than 20 different integers.",
        DATA,
        one_of(*TASKS),
    )
    image_size: tuple[int, ...] = option(
        (),
        "HEIGHT,WIDTH to which the images of a directory are resized; by default, they "
        "must have one size.",
        DATA,
        IMAGE_SIZE,
        unit="pixels",
    )
    data_residency: str = option(
        "auto",
        "Where a prepared data set is during the run: in memory (memory), or on disk "
        "and read ahead of the steps (stream); auto: in memory if it takes less than "
        "half of what is available. The results are the same.",
        DATA,
        one_of(*RESIDENCIES),
    )
    local_dir: str = option(
        "",
        "Directory on each node's own disk to which prepared data are copied, once, "
        "before they are read; by default, they are read where they are. Required if "
        "--dataset is a URL.",
        DATA,
        path=True,
    )
    shuffle_block: int = option(
        0,
        "Shuffle blocks of so many consecutive examples, and the examples of each, "
        "instead of all, for storage that is slow at random reads; 0: shuffle all.",
        DATA,
        at_least(0),
        unit="examples",
    )
    # Decides `dataset`, and is no field itself.
    fake_data: dataclasses.InitVar[bool] = option(  # noqa: RUF009 (it makes a field)
        False, "Same as --dataset=fake.", DATA
    )
    input_data_dir: str = option(
        "data/mnist",
        "Directory of the data set's files (MNIST: four IDX files, plain or .gz); "
        "missing files are downloaded to it.",
        DATA,
        path=True,
    )
    mnist_mirrors: tuple[str, ...] | None = option(
        None,
        "Base URLs to download MNIST from, tried in order; by default, three public "
        "mirrors.",
        DATA,
        URLS,
    )
    fake_sizes: tuple[int, int, int] = option(
        (10000, 1000, 1000),
        "Sizes of the splits of --dataset=fake.",
        DATA,
        SPLIT_SIZES,
        unit="examples",
    )
