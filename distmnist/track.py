"""Publishes the metrics of a run to MLflow or Weights & Biases.

Usage: python -m distmnist.track [flags]

For runs without --trackers, or on machines without a network; nothing comes twice.
"""

from __future__ import annotations

import dataclasses

from distmnist import cli
from distmnist.core.config import Config
from distmnist.core.errors import RunError, UserError
from distmnist.core.options import reuse, validate
from distmnist.core.registry import describe
from distmnist.core.run_directory import RunDirectory
from distmnist.core.trackers import TRACKERS, check_installed
from distmnist.distributed.cluster import Cluster


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of this program."""

    log_dir: str = reuse(
        Config, "log_dir", group=cli.INPUT, help="Directory of the run."
    )
    trackers: tuple[str, ...] = reuse(
        Config,
        "trackers",
        help=f"Experiment trackers. {describe(TRACKERS)}.",
        required=True,
    )

    def __post_init__(self) -> None:
        """Checks all values."""
        validate(self)


def main() -> None:
    """Publishes the run."""
    cli.run(
        Options,
        __doc__,
        _publish,
        prepare=lambda options, _: check_installed(options.trackers),
        single_process=True,
    )


def _publish(options: Options, _: Cluster) -> None:
    from distmnist.reporting import lines
    from distmnist.tracking.publisher import Publisher, describe_error, load
    from distmnist.tracking.state import State

    directory = RunDirectory(options.log_dir)
    lines.read(directory.metrics)  # else nothing is written there
    for name in options.trackers:
        try:
            with State(directory.tracker(name)) as state:
                publisher = Publisher(directory, load(name), state)
                publisher.publish()
                publisher.end(finished=directory.card.exists())
        except UserError:
            raise
        except Exception as error:  # of any kind
            raise RunError(f"{name}: {describe_error(error)}") from None
        print(f"{name}: {publisher.where}")


if __name__ == "__main__":
    main()
