"""TensorFlow's devices: this rank's GPU, or its number of CPU threads.

`configure_tensorflow` must run before TensorFlow first uses a device.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
import tempfile
from importlib import metadata

from distmnist import __version__
from distmnist.core import autograph
from distmnist.distributed import cores, launchers, process

# Floating-point operations that keep a core busy for about a millisecond.
_THREAD_FLOPS = 1e8


def import_tensorflow() -> None:
    """Imports TensorFlow, discarding what its libraries log meanwhile.

    Each process of TensorFlow 2.21 reports, before any log level applies, that it uses
    oneDNN and whether it finds CUDA: lines that for each of N ranks hide what matters.
    If the import fails, all output is shown; so it is with TF_CPP_MIN_LOG_LEVEL=0.
    """
    if "tensorflow" in sys.modules:
        autograph.set_up()
        return  # what was left of an earlier run must not be frozen
    _require_no_temporary_directory()
    with process.blocked_imports("keras"), process.frozen_gc():
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
            import tensorflow

            autograph.set_up()
            return
        # In memory: there need not be a temporary directory that can be written to.
        with os.fdopen(os.memfd_create("output"), "w+b") as output:
            stderr = os.dup(2)
            os.dup2(output.fileno(), 2)
            try:
                import tensorflow  # noqa: F401
            except BaseException:
                output.seek(0)
                os.write(stderr, output.read())
                raise
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)
        autograph.set_up()


def _require_no_temporary_directory() -> None:
    """Has Python's tempfile name a directory, even where none can be written to.

    TensorFlow asks for its name when it is imported, and needs it in tests only.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = "/tmp"


def configure_tensorflow(
    local_rank: int, local_size: int, size: int, step_flops: float
) -> None:
    """Chooses this rank's GPU and its threads.

    Args:
        local_rank: index of this rank on its host, in [0, local_size).
        local_size: number of ranks on this host.
        size: number of ranks.
        step_flops: floating-point operations of one step.
    """
    import tensorflow as tf

    if choose_gpu(local_rank):
        return
    if "TF_NUM_INTRAOP_THREADS" not in os.environ:
        threads = intra_op_threads(cores.share(local_size), step_flops)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    if "TF_NUM_INTEROP_THREADS" not in os.environ:
        # The operations of a step depend on one another: a second thread would only
        # pass the work back and forth. But an allreduce completes on another thread,
        # and has it go on there, if that has a core.
        threads = 1 if size == 1 or cores.are_shared(local_size) else 2
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def choose_gpu(local_rank: int) -> bool:
    """Chooses this rank's GPU; returns whether there is one.

    Args:
        local_rank: index of this rank on its host.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        # Where the launcher shows each rank its own GPU only, the index is 0.
        tf.config.set_visible_devices(gpus[local_rank % len(gpus)], "GPU")
        if os.environ.get("TF_DETERMINISTIC_OPS") != "0":
            # Some kernels add in the order in which a GPU's threads come: no two runs
            # are the same, and no resumed one is the uninterrupted one.
            tf.config.experimental.enable_op_determinism()
    return bool(gpus)


def has_gpu() -> bool:
    """Returns whether this process computes on a GPU."""
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


def intra_op_threads(cores: int, step_flops: float) -> int:
    """Returns the number of threads that share the work of an operation.

    Below some 100 million operations, a core's work of about a millisecond, waking
    another thread costs more than it saves: measured on the tutorial's network,
    whose step takes 63 million, two threads take a quarter longer than one.

    Args:
        cores: of this rank, at least 1.
        step_flops: floating-point operations of one step.
    """
    return max(1, int(min(cores, step_flops / _THREAD_FLOPS)))


def settings() -> str:
    """Returns the runtime settings in effect, for the log."""
    import tensorflow as tf

    threads = tf.config.threading
    in_effect = {
        "intra-op threads": threads.get_intra_op_parallelism_threads(),
        "inter-op threads": threads.get_inter_op_parallelism_threads(),
        "cores": cores.available(),
        "Horovod cycle time (ms)": os.environ.get("HOROVOD_CYCLE_TIME"),
        "MPI yields when idle": process.yields_when_idle(),
    }
    return ", ".join(f"{name} {value}" for name, value in in_effect.items())


def device() -> str:
    """Returns a description of the device that this process computes on."""
    import tensorflow as tf

    for gpu in tf.config.get_visible_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpu)["device_name"])
    count = cores.available()
    return f"CPU of {count} {'core' if count == 1 else 'cores'}"


def describe() -> dict[str, str]:
    """Returns the host, the job, the device and the versions for metrics.jsonl."""
    versions = {"distmnist": __version__}
    job = launchers.scheduled_job(os.environ)
    for name in ("tensorflow", "horovod", "mpi4py", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "host": socket.gethostname(),
        **({"job": job} if job else {}),
        "device": device(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
    }
