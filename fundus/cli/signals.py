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
    that other code handles, are left alone. Compiled code that the exception passes may replace it
    by one of its own, so whatever else leaves the block after a signal becomes `Ended` too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]  # none on Windows
    ours = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    ended: Ended | None = None

    def end(number: int, _: FrameType | None) -> None:
        nonlocal ended
        ended = Ended(number)
        for other in (*ours, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        raise ended

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    except Exception as error:
        if ended is None:
            raise
        raise ended from error
    finally:
        if ended is None:
            for number in ours:
                signal.signal(number, signal.SIG_DFL)
