"""Seeds of one build or fit, drawn from its own generator."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fundus.runtime.threads import renewed_after_fork

#: Held while a trained part is built, trained or used in Keras: networks are shared by the
#: fits of a process, and Keras numbers layer names globally.
one_at_a_time = renewed_after_fork(threading.RLock())

_own = threading.local()


class _Stream:
    """Replaces `random` in Keras: in the thread of a fit, it is that fit's own generator."""

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_own, "stream", random), name)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw the seeds of Keras's weights and layers from a generator for this block only.

    Keras draws each seed that is not given (of an initialiser, of Dropout, of its global seed
    generator) from Python's process-wide `random`. If that one were seeded, other code that draws
    from it, such as another thread, would change the network, and the caller's stream restart. So
    in this thread, and inside this block, Keras draws from ``random.Random(seed)`` instead; the
    generators of Python, numpy and TensorFlow are neither set nor read.

    Parameters
    ----------
    seed : int or None
        Non-negative; ``None`` means a random seed.

    Examples
    --------
    >>> import keras
    >>> def draw():
    ...     return keras.initializers.RandomNormal().seed
    >>> with seeded(0):
    ...     a = draw()
    >>> with seeded(0):
    ...     a == draw()
    True
    """
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator

    generator = seed_generator.GLOBAL_SEED_GENERATOR
    stream = random.SystemRandom() if seed is None else random.Random(int(seed))
    with one_at_a_time:
        before = getattr(_own, "stream", None), seed_generator.python_random
        made = global_state.get_global_attribute(generator)
        _own.stream, seed_generator.python_random = stream, _Stream()
        global_state.set_global_attribute(generator, None)
        try:
            yield
        finally:
            global_state.set_global_attribute(generator, made)
            outer, seed_generator.python_random = before
            if outer is None:
                del _own.stream
            else:
                _own.stream = outer
