"""Global settings of Keras and TensorFlow that change what a network computes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: Keras's defaults.
DEFAULT_POLICY = "float32"


def imported_keras() -> Any:
    """Return Keras if something has imported it; None otherwise.

    Unlike ``sys.modules``, it waits where another thread is in the middle of the import.

    Examples
    --------
    >>> import keras
    >>> imported_keras() is keras
    True
    """
    return importlib.import_module("keras") if "keras" in sys.modules else None


def dtype_policy() -> str:
    """Return the name of Keras's dtype policy in this thread, such as ``"mixed_float16"``.

    Examples
    --------
    >>> dtype_policy()
    'float32'
    """
    keras = imported_keras()
    return DEFAULT_POLICY if keras is None else keras.config.dtype_policy().name


@contextmanager
def under_policy(name: str) -> Iterator[None]:
    """Build Keras layers under a dtype policy; the caller's policy is restored afterwards."""
    import keras

    before = keras.config.dtype_policy()
    if before.name == name:
        yield
        return
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def graph_settings() -> tuple[Any, ...]:
    """Return the settings that a traced graph holds, besides the dtype policy; hashable.

    Two fits may share a traced network only if these are equal.
    """
    import keras
    import tensorflow as tf

    optimizer = tf.config.optimizer
    return (
        keras.config.floatx(),
        keras.config.epsilon(),
        tf.config.functions_run_eagerly(),
        optimizer.get_jit(),
        tuple(sorted(optimizer.get_experimental_options().items())),
        str(keras.distribution.distribution()),
        type(tf.distribute.get_strategy()).__name__,
    )


@dataclass(frozen=True)
class Carried:
    """A picklable function that runs under given settings of Keras, in any thread or process."""

    function: Callable[..., Any]
    #: Name of the dtype policy, which each thread has for itself.
    policy: str
    floatx: str
    epsilon: float
    #: Whether TensorFlow runs functions eagerly.
    eager: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; the former settings are restored afterwards."""
        import keras
        import tensorflow as tf

        keras_config, tf_config = keras.config, tf.config
        before = keras_config.floatx(), keras_config.epsilon(), tf_config.functions_run_eagerly()
        try:
            keras_config.set_floatx(self.floatx)
            keras_config.set_epsilon(self.epsilon)
            tf_config.run_functions_eagerly(self.eager)
            with under_policy(self.policy):
                return self.function(*args, **kwargs)
        finally:
            keras_config.set_floatx(before[0])
            keras_config.set_epsilon(before[1])
            tf_config.run_functions_eagerly(before[2])


def carried(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a picklable function that runs in joblib's workers under this process's settings.

    It is the function itself if no setting was changed, so that a worker that needs no TensorFlow
    does not load it.
    """
    if "keras" not in sys.modules:
        return function
    import keras
    import tensorflow as tf

    here = Carried(
        function,
        dtype_policy(),
        keras.config.floatx(),
        keras.config.epsilon(),
        tf.config.functions_run_eagerly(),
    )
    return function if here == Carried(function, DEFAULT_POLICY, "float32", 1e-7, False) else here
