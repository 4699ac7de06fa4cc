"""A kill at a checkpoint of a training, within the process of a test."""

from __future__ import annotations

from contextlib import contextmanager

from fundus.training.checkpoints import Checkpoint


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the library catches it."""


@contextmanager
def killed(monkeypatch, *, at, written):
    """Kill at the k-th checkpoint, before or after it is written; gives the number of epochs."""
    write, calls = Checkpoint.write, []

    def counted(self, state):
        calls.append(state.about.get("done"))
        if len(calls) == at and not written:
            raise Killed
        write(self, state)
        if len(calls) == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", counted)
        try:
            yield calls
        except Killed:
            calls.append("killed")
