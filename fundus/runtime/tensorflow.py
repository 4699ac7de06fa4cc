"""Starts TensorFlow with this process's share of processors and memory."""

from __future__ import annotations

import functools
import multiprocessing
import os
import warnings

from fundus.exceptions import BackendError, FundusWarning
from fundus.runtime.forks import refuse_after_fork
from fundus.runtime.tensorflow_noise import quiet_start
from fundus.runtime.threads import processor_share


def require_tensorflow() -> None:
    """Make sure that Keras runs on TensorFlow with this process's share of processors and memory.

    Called before other code uses Keras. TensorFlow's start-up lines are hidden, unless the
    user has set ``TF_CPP_MIN_LOG_LEVEL``.

    Raises
    ------
    BackendError
        If Keras runs on another backend, or puts the channels of an image first, or this process
        was forked from one in which TensorFlow ran.
    """
    refuse_after_fork()
    try:
        with quiet_start():
            import keras
    except (ImportError, ValueError) as error:  # not installed, or unknown to Keras
        raise BackendError(
            "Keras could not be imported with the backend "
            f"{os.environ.get('KERAS_BACKEND', 'of its configuration file')!r} ({error}); "
            "fundus needs TensorFlow: set KERAS_BACKEND=tensorflow before Python starts."
        ) from error
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise BackendError(
            f"fundus needs Keras on TensorFlow, but Keras runs on {backend!r}; set "
            "KERAS_BACKEND=tensorflow before Python starts, or change 'backend' in keras.json."
        )
    data_format = keras.config.image_data_format()
    if data_format != "channels_last":
        raise BackendError(
            "fundus needs Keras's image data format to be 'channels_last', but it is "
            f"{data_format!r}; change 'image_data_format' in keras.json."
        )
    _keep_to_share()
    _grow_gpu_memory()


@functools.cache
def _keep_to_share() -> None:
    """Give TensorFlow one thread per processor of this process, unless a number is set."""
    import tensorflow as tf

    threading_config = tf.config.threading
    said = (
        os.environ.get("TF_NUM_INTRAOP_THREADS")
        or threading_config.get_intra_op_parallelism_threads()
    )
    share = processor_share()
    if said or share >= (os.cpu_count() or 1):
        return
    try:
        threading_config.set_intra_op_parallelism_threads(share)
        threading_config.set_inter_op_parallelism_threads(share)
    except RuntimeError:
        return  # TensorFlow runs already, with the threads of other code


@functools.cache
def _grow_gpu_memory() -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus and multiprocessing.current_process().name != "MainProcess":
        warnings.warn(
            f"{len(gpus)} GPU(s) are shared by several processes: with a GPU, n_jobs=1 is faster "
            "and cannot run out of its memory.",
            FundusWarning,
            stacklevel=4,
        )
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except (RuntimeError, ValueError) as error:
            warnings.warn(
                f"Memory growth could not be turned on for {gpu.name!r} ({error}); call "
                "fundus before other TensorFlow code, or turn it on there.",
                FundusWarning,
                stacklevel=4,
            )
