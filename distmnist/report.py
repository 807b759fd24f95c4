"""Writes a page on a run, or on several side by side: curves, tables, mistakes.

python -m distmnist.report --log_dir=DIR [--compare=DIR,...] [--output=FILE]

The page is one HTML file that needs no network and no file beside it.
"""

from __future__ import annotations

import os
import sys
import traceback

from absl import app, flags, logging

from distmnist import cluster, runtime
from distmnist.errors import InputError, RunError, UserError

_LOG_DIR = flags.DEFINE_string(
    "log_dir", "logs", "Directory of the run.", allow_override=True
)
_COMPARE = flags.DEFINE_list("compare", [], "Directories of runs to show beside it.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "The file to write; by default report.html in --log_dir."
)
_PNG_DIR = flags.DEFINE_string(
    "png_dir", None, "Directory to write the charts and pictures to as PNG files, too."
)
_INPUT_DATA_DIR = flags.DEFINE_string(
    "input_data_dir",
    None,
    "Directory of MNIST, if it is no longer where the run had it.",
)


def main() -> None:
    """Parses the flags, writes the page, and exits."""
    alone = cluster.Cluster()
    try:
        log_dirs, output = _parse()
        runtime.prepare_environment(local_rank=0, local_size=1)
        runtime.import_tensorflow()
        from distmnist import page

        runs = [page.read(log_dir, _INPUT_DATA_DIR.value) for log_dir in log_dirs]
        try:
            page.write(runs, output, _PNG_DIR.value)
        except OSError as error:
            raise RunError(
                f"{error.filename}: can't be written ({error.strerror}); choose "
                "another --output or --png_dir"
            ) from None
        print(f"Report: {output}")
    except UserError as error:
        alone.fail(error)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _parse() -> tuple[list[str], str]:
    """Returns the log directories, and the file to write."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    app.define_help_flags()
    try:
        rest = flags.FLAGS(sys.argv)
    except flags.Error as error:
        raise InputError(f"{' '.join(str(error).split())} (--help lists all)") from None
    except SystemExit:  # absl has printed the help, and exits with 1
        sys.exit(0)
    if rest[1:]:
        raise InputError(f"argument {rest[1]!r}: only flags are taken, as --name=value")
    log_dir = _LOG_DIR.value
    output = _OUTPUT.value or os.path.join(log_dir, "report.html")
    return [log_dir, *_COMPARE.value], output


if __name__ == "__main__":
    main()
