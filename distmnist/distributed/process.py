"""Settings of this process: how MPI and Horovod wait, which GPU it owns.

Two moments matter.  `prepare_environment` must run before MPI, Horovod or
TensorFlow are loaded, because they read their environment once.
`configure_tensorflow` must run before TensorFlow touches a device.  Neither
overrides anything that the user has set.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata

_YIELD = "OMPI_MCA_mpi_yield_when_idle"


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def prepare_environment(
    local_rank: int,
    local_size: int,
    stall_seconds: float = 600,
    elastic: bool = False,
    one_host: bool = False,
) -> None:
    """Sets what MPI, Horovod and TensorFlow read when they are loaded.

    Args:
        local_rank: index of this rank on its host, from the launcher.
        local_size: number of ranks on this host, from the launcher.
        stall_seconds: how long ranks may wait for one that does not come.
        elastic: ranks come and go, and with them their places.
        one_host: all ranks are on this host.
    """
    environment = os.environ.setdefault
    # TensorFlow's C++ side greets every process with a screenful, errors about
    # absent GPU plug-ins included.  What goes wrong arrives as an exception.
    environment("TF_CPP_MIN_LOG_LEVEL", "3")
    # Horovod looks for finished gradients once a cycle.  Its default of 1 ms
    # suits networks whose steps take many; here a step takes about one.
    environment("HOROVOD_CYCLE_TIME", "0.2")
    # It names a rank that the others wait for, and then fails.
    environment("HOROVOD_STALL_CHECK_TIME_SECONDS", f"{min(60, stall_seconds / 2):.0f}")
    environment("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", f"{stall_seconds:.0f}")
    if one_host:
        # Open MPI's way to fabrics takes a second to end, and is of no use here.
        environment("OMPI_MCA_btl", "^ofi")
    if local_size == 1 or local_size < cores():
        return
    # Every core has a rank or more.  Open MPI spins while it waits, and so takes
    # the time of the rank that it waits for: 20 times slower steps.
    environment(_YIELD, "1")
    # A rank's threads take turns, and so need one core; left to the kernel, they
    # wander, and now and then two ranks share a core while another idles.
    if cores() == os.cpu_count() and not elastic:  # else somebody has chosen already
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[local_rank % len(available)]})


def show_chatter() -> None:
    """Lets TensorFlow and Horovod say all that they have to say.

    To have an effect, it must run before `prepare_environment`.
    """
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="0", HOROVOD_LOG_LEVEL="info")


def configure_tensorflow(
    local_rank: int, local_size: int, size: int, step_flops: float
) -> None:
    """Chooses this rank's GPU and its threads, before TensorFlow first uses them.

    Args:
        local_rank: index of this rank on its host, in [0, local size).
        local_size: number of ranks on this host.
        size: number of ranks.
        step_flops: floating-point operations of one step.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        # A launcher that shows each rank its own GPU leaves nothing to choose.
        tf.config.set_visible_devices(gpus[local_rank % len(gpus)], "GPU")
        return
    if "TF_NUM_INTRAOP_THREADS" not in os.environ:
        threads = intra_op_threads(os.cpu_count() or 1, local_size, step_flops)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    if "TF_NUM_INTEROP_THREADS" not in os.environ:
        # The operations of a step wait for one another, and a second thread would
        # only pass the work to and fro; but an allreduce ends on another thread.
        tf.config.threading.set_inter_op_parallelism_threads(1 if size == 1 else 2)


def settings() -> str:
    """Returns what was chosen, or set by the user, for the log."""
    import tensorflow as tf

    threads = tf.config.threading
    chosen = {
        "intra-op threads": threads.get_intra_op_parallelism_threads(),
        "inter-op threads": threads.get_inter_op_parallelism_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "Horovod's cycle (ms)": os.environ.get("HOROVOD_CYCLE_TIME"),
        "MPI yields": os.environ.get(_YIELD) == "1",
    }
    return ", ".join(f"{name} {value}" for name, value in chosen.items())


def device() -> str:
    """Returns what this process computes on, for people to read."""
    import tensorflow as tf

    for gpu in tf.config.get_visible_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpu)["device_name"])
    return f"CPU of {cores()} {'core' if cores() == 1 else 'cores'}"


def environment() -> dict[str, str]:
    """Returns what this process runs on and with, for people to read."""
    versions = {}
    for name in ("distmnist", "tensorflow", "horovod", "mpi4py", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "host": socket.gethostname(),
        "device": device(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
    }


def intra_op_threads(cores: int, local_size: int, step_flops: float) -> int:
    """Returns how many threads a rank is to share an operation's work among.

    Below some 100 million operations, a core's work of about a millisecond, waking
    another thread costs more than it saves: measured on the tutorial's network,
    whose step takes 63 million, two threads take a quarter longer than one.

    Args:
        cores: of this host.
        local_size: number of ranks that share them.
        step_flops: floating-point operations of one step.
    """
    return max(1, int(min(cores // local_size, step_flops / 1e8)))


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Lets imports fail of packages that others load but can do without.

    It halves the time until the first step.  TensorFlow loads Keras at once, though
    `tf.keras` would load it at its first use; Horovod needs Keras, which loads
    scikit-learn and Matplotlib where they are installed.

    Args:
        packages: names; what is loaded already stays.
    """
    absent = [name for name in packages if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # import fails on it
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def for_good() -> Iterator[None]:
    """Has what is imported here never looked at by the garbage collector again.

    TensorFlow's modules are hundreds of thousands of objects that stay to the end:
    to search them again and again, and once more at exit, takes a process a second.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def import_tensorflow() -> None:
    """Imports TensorFlow, keeping back the false alarms of its libraries.

    Each process of TensorFlow 2.18 reports, as errors and before any log level
    applies, that its CUDA plug-ins are registered twice.  They are harmless, and
    N ranks times five lines of them hide what matters.  If the import fails,
    all that was said is shown; so it is if TF_CPP_MIN_LOG_LEVEL asks for it.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        with hidden("keras"), for_good():
            import tensorflow
        return
    with tempfile.TemporaryFile() as said, hidden("keras"), for_good():
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
