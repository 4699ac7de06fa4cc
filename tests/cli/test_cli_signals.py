"""Signals that end a command; `tests/test_attacked_saving.py` sends them to whole trainings."""

from __future__ import annotations

import signal

import pytest

from fundus.cli.signals import Ended, ending_by_signals

NUMBERS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


@pytest.fixture
def as_a_program():
    """The handlers of a program that has just begun; those of this process come back."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def replacing(number):
    """What compiled code, such as TensorFlow's flattening of arguments, does with an exception."""
    try:
        signal.raise_signal(number)
    except Ended:
        raise TypeError from None


@pytest.mark.parametrize("number", NUMBERS[:2])
def test_a_signal_is_told_whatever_compiled_code_makes_of_it(number, as_a_program):
    with pytest.raises(Ended) as told, ending_by_signals():
        replacing(number)
    assert told.value.number == number
    assert isinstance(told.value.__cause__, TypeError)
    assert [signal.getsignal(n) for n in NUMBERS] == [signal.SIG_IGN] * 3


def test_an_error_without_a_signal_stays_itself(as_a_program):
    with pytest.raises(TypeError), ending_by_signals():
        raise TypeError
    assert [signal.getsignal(n) for n in NUMBERS] == [signal.SIG_DFL] * 3


def test_a_signal_that_is_ignored_stays_ignored(as_a_program):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending_by_signals():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
