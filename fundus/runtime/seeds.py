"""Seeds of one build or fit, drawn from a generator of its own."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fundus.runtime.threads import renewed_after_fork

#: Held by whoever builds, trains or predicts with Keras's trained part: networks are shared by the
#: fits of a process, and Keras counts the names of layers in one place.
one_at_a_time = renewed_after_fork(threading.RLock())

_own = threading.local()


class _Stream:
    """Python's `random` as Keras sees it: in the thread of a fit, that fit's own generator."""

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_own, "stream", random), name)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw the seeds of Keras's weights and layers from a generator of this block's own.

    Keras draws each seed that nobody gives (of an initialiser, of Dropout, of its global seed
    generator) from Python's process-wide `random`. To seed that one would let whatever else draws
    from it, such as another thread, change the network, and would rewind the caller's stream. So
    in this thread, and inside this block, Keras draws from ``random.Random(seed)`` instead; the
    generators of Python, numpy and TensorFlow are neither set nor read.

    Parameters
    ----------
    seed : int or None
        Non-negative; ``None`` means fresh entropy.

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
