"""Process settings: what MPI, Horovod and TensorFlow read when they are loaded.

They read their environment once, so `prepare_environment` must run before any of them
is imported. It overrides nothing that the user has set.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

from distmnist.core.config import Config
from distmnist.distributed import cores
from distmnist.distributed.launchers import Placement

_YIELD = "OMPI_MCA_mpi_yield_when_idle"
_TRANSPORTS = "OMPI_MCA_btl"


def prepare_environment(
    placement: Placement, stall_seconds: float = Config.stall_seconds
) -> None:
    """Sets what MPI, Horovod and TensorFlow read when they are loaded.

    Args:
        placement: of this process, from the launcher.
        stall_seconds: hang timeout of collectives, in seconds.
    """
    environment = os.environ.setdefault
    # TensorFlow's C++ code logs a screenful in each process, errors about absent GPU
    # plug-ins included. Real errors arrive as exceptions.
    environment("TF_CPP_MIN_LOG_LEVEL", "3")
    # Horovod looks for ready gradients once a cycle. Its default of 1 ms suits
    # networks whose steps take many; a step of a small network takes about one.
    environment("HOROVOD_CYCLE_TIME", "0.2")
    # Horovod fuses tensors that are ready at the same time, which differs from run to
    # run, and so does the rounding of sums. But given both this and the cycle, it
    # crashes when an elastic job connects its ranks again.
    if not placement.is_elastic:
        environment("HOROVOD_FUSION_THRESHOLD", "0")
    # Horovod warns of a rank that the others wait for, and then fails.
    environment("HOROVOD_STALL_CHECK_TIME_SECONDS", f"{min(60, stall_seconds / 2):.0f}")
    environment("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", f"{stall_seconds:.0f}")
    if placement.is_one_host:
        _exclude_fabrics()
    # Open MPI spins while it waits, on a core that a thread or the rank that it waits
    # for needs: steps are up to 20 times slower without yielding.
    environment(_YIELD, "1")
    if 1 < placement.local_size <= cores.available():
        # Beside other programs, waiting ranks sleep (launch/horovod). Beside ranks on
        # their own core that makes steps twice as slow; and it slows down a network.
        environment("HOROVOD_SLEEP_BESIDE_OTHERS", "1")
    if placement.local_size == 1 or placement.local_size < cores.available():
        return
    # A rank's threads take turns, and so need one core; the kernel migrates them, and
    # now and then two ranks share a core while another idles.
    available = sorted(os.sched_getaffinity(0))
    restricted = len(available) != os.cpu_count()  # somebody has pinned this process
    if not restricted and not placement.is_elastic:  # whose placement changes
        core = available[placement.local_rank % len(available)]
        os.sched_setaffinity(0, {core})


def _exclude_fabrics() -> None:
    """Excludes Open MPI's fabric transport: unused on one host, it ends in a second.

    horovodrun excludes another one, and a user may; a list of what is included stays.
    """
    excluded = os.environ.get(_TRANSPORTS, "^")
    if excluded.startswith("^") and "ofi" not in excluded:
        names = [name for name in excluded[1:].split(",") if name]
        os.environ[_TRANSPORTS] = "^" + ",".join([*names, "ofi"])


def yields_when_idle() -> bool:
    """Returns whether MPI yields the core while it waits."""
    return os.environ.get(_YIELD) == "1"


def enable_library_logs() -> None:
    """Shows all log messages of TensorFlow and Horovod.

    To have an effect, it must run before `prepare_environment`.
    """
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="0", HOROVOD_LOG_LEVEL="info")


@contextlib.contextmanager
def blocked_imports(*packages: str) -> Iterator[None]:
    """Makes imports of packages fail that others load but can do without.

    It halves the time to the first step: TensorFlow loads Keras at once, although
    `tf.keras` would load it at its first use; Horovod loads Keras, which loads
    scikit-learn and Matplotlib where they are installed.

    Args:
        packages: names; a package that is loaded already stays.
    """
    absent = [name for name in packages if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # makes its import fail
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def frozen_gc() -> Iterator[None]:
    """Exempts what is imported inside from garbage collection.

    TensorFlow's modules are hundreds of thousands of objects that live as long as the
    process: traversing them again and again, and once more at exit, costs a second.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
