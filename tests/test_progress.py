"""Bars of progress: where a person looks, named by fold, full at the end."""

from __future__ import annotations

import io
import multiprocessing
import re
import sys

import keras
import numpy as np
import pytest

from fundus import FoldEnsemble, SoftmaxHead, TransferClassifier, set_verbosity
from fundus.exceptions import InvalidParameterError
from fundus.runtime import progress
from fundus.runtime.progress import Bar, labelled, part_of_work, track
from fundus.runtime.verbosity import shows_progress


class Terminal(io.StringIO):
    """Standard error that a person looks at."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _as_at_first():
    yield
    set_verbosity()


def looked_at(monkeypatch) -> Terminal:
    """Standard error as a terminal, from here to the end of the test."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    return shown


def text_of(terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())


def test_only_where_a_person_looks(monkeypatch):
    looked_at(monkeypatch)
    assert shows_progress()
    set_verbosity("quiet")
    assert not shows_progress()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    set_verbosity()
    assert not shows_progress()
    set_verbosity("progress")
    assert shows_progress()
    with pytest.raises(InvalidParameterError, match="'level'.*'auto'"):
        set_verbosity("loud")


def test_a_notebook_is_looked_at(monkeypatch):
    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = staticmethod(ZMQInteractiveShell)

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "IPython", IPython)
    assert shows_progress()


def test_a_worker_shows_none(monkeypatch):
    looked_at(monkeypatch)
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    assert not shows_progress()


def test_quick_work_shows_none_unless_it_is_asked_for(monkeypatch):
    terminal = looked_at(monkeypatch)
    batches = [([0, 1],), ([2],)]
    assert list(track(iter(batches), total=3, what="Measuring", show=0)) == batches
    assert text_of(terminal) == ""
    assert list(track(iter(batches), total=3, what="Measuring", show=1)) == batches
    assert "Measuring" in text_of(terminal)
    assert "3/3" in text_of(terminal)


def test_long_work_shows_one_which_a_loop_that_breaks_ends(monkeypatch):
    terminal = looked_at(monkeypatch)
    monkeypatch.setattr(progress, "SOON", 0.0)
    for _ in track(iter([([0],)] * 9), total=9, what="Measuring", show=0):
        break
    assert "Measuring" in text_of(terminal)
    terminal.truncate(0)
    set_verbosity("quiet")
    list(track(iter([([0],)]), total=1, what="Measuring", show=0))
    assert text_of(terminal).strip("\0") == ""


def test_what_ends_early_is_full(monkeypatch):
    terminal = looked_at(monkeypatch)
    bar = Bar("Training", 40, asked=1)
    for _ in range(3):
        bar.advance(1, "loss 0.5")
    bar.close()
    bar.close()
    last = text_of(terminal).rstrip().splitlines()[-1]
    assert "Training  loss 0.5" in last
    assert "3/3" in last


def test_a_command_shows_what_it_says_itself(monkeypatch):
    from typer.testing import CliRunner

    from fundus.cli import app
    from fundus.plugins import registry

    seen = []
    monkeypatch.setattr(registry, "get_registry", lambda: seen.append(shows_progress()) or 1 / 0)
    set_verbosity("progress")
    CliRunner().invoke(app, ["heads"])
    assert seen == [False]
    assert shows_progress(), "as before, for who calls a command in a program"


def test_parts_are_named_one_inside_the_other():
    assert labelled("Training") == "Training"
    with part_of_work("fold 2"):
        assert labelled("Training") == "Fold 2: training"
        with part_of_work(""), part_of_work("fold 0"):
            assert labelled("Training") == "Fold 2, fold 0: training"
    assert labelled("Training") == "Training"


@pytest.mark.slow
def test_folds_say_which_they_are_and_change_no_bit(monkeypatch):
    terminal = looked_at(monkeypatch)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    net = TransferClassifier(
        "precomputed", SoftmaxHead(units=4, layers=1), epochs=30, patience=1, random_state=0
    )
    model = FoldEnsemble(net, cv=2, random_state=0)
    monkeypatch.setattr(progress, "SOON", 0.0)
    shown = model.fit(X, y).predict_proba(X)
    text = text_of(terminal)
    assert "Fold 0: training  loss" in text
    assert "Fold 1: training  loss" in text
    for history, fold in ((m.history_["loss"], k) for k, m in enumerate(model.estimators_)):
        assert f"{len(history)}/{len(history)}" in text, fold
    set_verbosity("quiet")
    terminal.truncate(0)
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), shown)
    assert "training" not in text_of(terminal)


@pytest.mark.slow
def test_an_error_in_a_training_ends_its_bar_and_prints_stay_where_they_go(monkeypatch):
    class Broken(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            print("printed")
            raise ValueError("broken")

    terminal, out = looked_at(monkeypatch), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(progress, "SOON", 0.0)
    X, y = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3
    net = TransferClassifier(
        "precomputed", SoftmaxHead(units=4, layers=1), epochs=3, random_state=0, callbacks=Broken()
    )
    with pytest.raises(ValueError, match="broken"):
        net.fit(X, y)
    assert out.getvalue() == "printed\n"
    assert sys.stdout is out
    assert "Training" in text_of(terminal)
    assert "1/3" in text_of(terminal)
    assert "3/3" not in text_of(terminal)
