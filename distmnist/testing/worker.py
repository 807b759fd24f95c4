"""The program that each rank of a check runs: python -m distmnist.testing.worker."""

from __future__ import annotations

import functools
import pickle
import sys
import traceback
from multiprocessing import spawn
from pathlib import Path

from absl import logging

from distmnist import cli
from distmnist.core import user_code
from distmnist.core.errors import InputError, UserError
from distmnist.distributed.cluster import Cluster
from distmnist.testing.launching import result_path
from distmnist.testing.problem import Observed, Problem

_STALL_SECONDS = 60.0  # hang timeout of collectives


def main() -> None:
    """Observes each problem, and writes what it observed."""
    with cli.joined(_STALL_SECONDS) as cluster:
        _observe_all(Path(sys.argv[1]), cluster)


def _observe_all(directory: Path, cluster: Cluster) -> None:
    contents, sizes, main_module = pickle.loads((directory / "job.pickle").read_bytes())
    cli.set_up_logging(cluster.rank, logging.WARNING)
    cli.prepare_inference(None, cluster)
    from distmnist.testing.observe import observe

    if main_module:
        spawn.prepare(main_module)
    for name, content in contents.items():
        path = result_path(directory, name, cluster.size, cluster.rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        observed = Observed()
        try:
            problem = cluster.run_collectively(functools.partial(_load, content))
            observe(problem, observed, cluster, sizes, path.parent)
        except UserError as error:
            observed.error = str(error)
        except Exception as error:
            explained = cluster.explain(error) or user_code.explain(error)
            observed.error = str(explained or traceback.format_exc())
        path.write_bytes(pickle.dumps(observed))
    cluster.allgather(None)


def _load(content: bytes) -> Problem:
    try:
        with user_code.reported():
            problem: Problem = pickle.loads(content)
            return problem
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"other processes cannot import it ({error}); put it at the top level of a "
            "module, and start where Python finds that"
        ) from None


if __name__ == "__main__":
    main()
