"""Writes a page on a run, or on several side by side: curves, tables, mistakes.

python -m distmnist.report [flags]

The page is one HTML file that needs no network and no file beside it.
"""

from __future__ import annotations

import argparse
import os

from distmnist import cli
from distmnist.core.errors import InputError, RunError
from distmnist.distributed.cluster import Cluster


def main() -> None:
    """Writes the page."""
    cli.run(_parse, _report, alone=True)


def _parse() -> argparse.Namespace:
    parser = cli.Parser("report", __doc__)
    parser.add_argument(
        "--compare",
        default=[],
        type=lambda text: text.split(","),
        metavar="DIR,...",
        help="log directories of runs to show beside it",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="the page (report.html in --log_dir)"
    )
    parser.add_argument(
        "--png_dir",
        metavar="DIR",
        help="where to write the charts and pictures as PNG files, too",
    )
    parser.add_input_data_dir()
    return parser.parse_args()


def _report(options: argparse.Namespace, workers: Cluster) -> None:
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the report needs Jinja and Matplotlib ({error}): run launch/setup.sh, or "
            "pip install jinja2 matplotlib"
        ) from None
    from distmnist.metrics import console
    from distmnist.reporting import page

    runs = [
        page.read(log_dir, workers, options.input_data_dir)
        for log_dir in (options.log_dir, *options.compare)
    ]
    output = options.output or os.path.join(options.log_dir, "report.html")
    try:
        page.write(runs, output, options.png_dir)
    except OSError as error:
        raise RunError(
            f"{error.filename}: can't be written ({error.strerror}); choose another "
            "--output or --png_dir"
        ) from None
    console.write(f"Report: {output}\n")


if __name__ == "__main__":
    main()
