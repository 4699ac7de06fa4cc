"""Signals that ask the process to end: they act as Ctrl-C does, when this is the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: SIGTERM is from ``kill``, ``timeout``, containers and clusters, SIGHUP from a closed terminal.
_NAMES = ("SIGTERM", "SIGHUP")


class Ended(KeyboardInterrupt):
    """A signal has asked the process to end.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ending_by_signals() -> Iterator[None]:
    """Raise `Ended` in the main thread where a signal asks the process to end.

    Only the first one counts: ``timeout`` and clusters send several, and the others would cut off
    what the first one has begun to put in order. Signals that are ignored, as under ``nohup``, or
    that other code handles, are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]  # none on Windows
    ours = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    ended = False

    def end(number: int, _: FrameType | None) -> None:
        nonlocal ended
        ended = True
        for other in (*ours, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        if not ended:
            for number in ours:
                signal.signal(number, signal.SIG_DFL)
