"""Writes an HTML report on one run, or on several side by side.

Usage: python -m distmnist.report [flags]

The report has curves, tables and misclassified examples. It is a single file, which
needs no network.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from distmnist import cli
from distmnist.core.errors import InputError, RunError
from distmnist.core.options import option
from distmnist.core.run_directory import RunDirectory
from distmnist.distributed.cluster import Cluster


@dataclasses.dataclass(frozen=True)
class Options(cli.RunOptions):
    """Options of this program."""

    compare: tuple[str, ...] = option(
        (), "DIR,...: run directories to compare it with.", cli.INPUT, path=True
    )
    input_data_dir: str | None = cli.input_data_dir()
    dataset: str | None = cli.dataset()
    local_dir: str = cli.local_dir()
    output: str | None = option(
        None,
        "File of the report; by default, report.html in --log_dir.",
        cli.OUTPUT,
        path=True,
    )
    png_dir: str | None = option(
        None,
        "Directory to write the charts and images to as PNG files, too.",
        cli.OUTPUT,
        path=True,
    )


def main() -> None:
    """Writes the report."""
    cli.run(Options, __doc__, _report, single_process=True)


def _report(options: Options, cluster: Cluster) -> None:
    from distmnist.metrics import console
    from distmnist.reporting import page, reader
    from distmnist.reporting.reader import Replaced

    output = options.output or str(RunDirectory(options.log_dir).report)
    if Path(output).is_file() and not page.is_report(output):
        raise InputError(
            f"flag --output={output}: exists, and is not a report; name another file"
        )
    directories: dict[str, str] = {}  # each run once
    for log_dir in (options.log_dir, *options.compare):
        directories.setdefault(os.path.realpath(log_dir), log_dir)
    runs = reader.read_all(
        list(directories.values()),
        cluster,
        Replaced(
            options.input_data_dir, options.dataset, options.model, options.local_dir
        ),
    )
    try:
        page.write(runs, output, options.png_dir)
    except OSError as error:
        raise RunError(
            f"{error.filename or output}: cannot be written "
            f"({error.strerror or error}), and nothing was; free disk space, or choose "
            "another --output or --png_dir"
        ) from None
    console.write(f"Report: {output}\n")


if __name__ == "__main__":
    main()
