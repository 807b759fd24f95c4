"""Connects this process to the ranks that the launcher started along with it."""

from __future__ import annotations

import atexit
import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.distributed import devices, launchers, process
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.watchdog import watchdog

if TYPE_CHECKING:
    from distmnist.distributed.horovod import HorovodCluster

# Launchers end the job when its first process exits: rank 0 must have reported by then.
_REPORT_SECONDS = 5.0


def connect(stall_seconds: float = Config.stall_seconds) -> Cluster:
    """Joins the ranks that the launcher started along with this process.

    Args:
        stall_seconds: hang timeout of collectives, in seconds.

    Raises:
        InputError: several ranks were launched, but cannot connect to each other; only
            rank 0 raises it, the others exit.
    """
    placement = launchers.detect(os.environ)
    process.prepare_environment(placement, stall_seconds)
    if placement.size == 1 and not placement.is_elastic:
        if variable := launchers.unsupported(os.environ):
            raise InputError(
                f"{variable} in the environment: several processes were started by a "
                "launcher that is not supported, and each would train on its own; use "
                "mpirun or horovodrun, or unset it for a single process"
            )
        return Cluster()
    watchdog.enable(placement.rank, stall_seconds)
    try:
        with watchdog.phase("loading libraries"), watchdog.own_work():
            devices.import_tensorflow()
            cluster_class = _import_cluster()
        problem = cluster_class.problem()
        if not problem:
            with watchdog.phase("connecting"):
                cluster = cluster_class(placement.is_elastic)
            # Runs before Horovod's own, which was registered earlier.
            atexit.unregister(_shut_down)
            atexit.register(_shut_down, cluster)
            _abort_at_exceptions(cluster)
            if cluster.size == placement.size or placement.is_elastic:
                watchdog.attach(cluster)
                return cluster
            problem = (
                f"a launcher started {placement.size} ranks, but Horovod sees "
                f"{cluster.size}: use the mpirun or horovodrun of the environment that "
                "Horovod was built in"
            )
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        problem = (
            f"a launcher started {placement.size} ranks, which requires Horovod and "
            f"mpi4py, but they cannot be imported ({reason}): pip alone does not build "
            "Horovod; in a checkout of distmnist, run launch/setup.sh && source "
            ".venv/bin/activate, or start one process without a launcher"
        )
    if placement.rank == 0:
        raise InputError(problem)
    time.sleep(_REPORT_SECONDS)
    sys.exit(InputError.exit_status)


def _shut_down(cluster: Cluster) -> None:
    with watchdog.phase("shutting down"):
        cluster.shut_down()


def _abort_at_exceptions(cluster: HorovodCluster) -> None:
    """Has an exception that ends one rank alone, of a user's program, end the job."""
    report = getattr(sys.excepthook, "report", sys.excepthook)  # not that of a cluster

    def end(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        report(kind, error, trace)
        if not getattr(error, "on_all_ranks", False):
            cluster.abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

    end.report = report  # type: ignore[attr-defined]
    sys.excepthook = end


def _import_cluster() -> type[HorovodCluster]:
    # Imported only now: a single process needs neither Horovod nor mpi4py.
    if "HOROVOD_GLOO_RENDEZVOUS_ADDR" in os.environ:
        from distmnist.distributed.horovod import HorovodCluster

        return HorovodCluster
    from distmnist.distributed.mpi import MpiCluster

    return MpiCluster
