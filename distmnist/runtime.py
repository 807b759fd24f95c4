"""Settings of this process: how MPI and Horovod wait, which GPU it owns.

Two moments matter.  `prepare_environment` must run before MPI, Horovod or
TensorFlow are loaded, because they read their environment once.
`configure_devices` must run before TensorFlow touches a device.  Neither
overrides anything that the user has set.
"""

from __future__ import annotations

import os
import tempfile


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def prepare_environment(local_size: int) -> None:
    """Sets what MPI, Horovod and TensorFlow read from the environment.

    Args:
        local_size: number of ranks on this host, from the launcher.
    """
    environment = os.environ.setdefault
    # TensorFlow's C++ side greets every process with a screenful, errors about
    # absent GPU plug-ins included.  What goes wrong arrives as an exception.
    environment("TF_CPP_MIN_LOG_LEVEL", "3")
    # Open MPI spins while it waits.  With a rank on every core, the spinning
    # ranks take the time of the one that they wait for: 20 times slower steps.
    if local_size >= cores():
        environment("OMPI_MCA_mpi_yield_when_idle", "1")
    # Horovod looks for finished gradients once a cycle.  Its default of 1 ms
    # suits networks whose steps take many; here a step takes about one.
    environment("HOROVOD_CYCLE_TIME", "0.1")


def configure_devices(local_rank: int) -> None:
    """Gives this rank one GPU, where there are any, and lets its memory grow.

    Args:
        local_rank: index of this rank on its host, in [0, local size).
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    # A launcher that shows each rank its own GPU only leaves nothing to choose.
    tf.config.set_visible_devices(gpus[local_rank % len(gpus)], "GPU")


def import_tensorflow() -> None:
    """Imports TensorFlow, keeping back the false alarms of its libraries.

    Each process of TensorFlow 2.18 reports, as errors and before any log level
    applies, that its CUDA plug-ins are registered twice.  They are harmless, and
    N ranks times five lines of them hide what matters.  If the import fails,
    all that was said is shown.
    """
    with tempfile.TemporaryFile() as said:
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
