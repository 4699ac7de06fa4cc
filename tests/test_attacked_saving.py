"""Promises about writing and leaving: kills during a save, full disks, signals, many fits."""

from __future__ import annotations

import pytest
from attacks.full_disk import full_disk
from attacks.killed_saves import killed_saves
from attacks.many_fits import many_fits
from attacks.signals import ended_by_signals


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, pytest.param(60, marks=pytest.mark.soak)])
def test_a_killed_save_leaves_a_whole_model_or_none(count, tmp_path, record_property):
    seen = killed_saves(count, 0, tmp_path)
    record_property("promise", "A save that is killed leaves a whole model or none.")
    record_property("did", "SIGKILL at a random moment of a save of five folds; then saved again")
    record_property("times", count)
    whole = f"{seen['whole']} whole, {seen['absent']} absent, {seen['half']} half"
    kept = f"{seen['leftovers kept']} of {seen['leftovers']} hidden leftovers kept by the next save"
    record_property("outcome", f"{whole}; {kept}")
    assert seen["half"] == seen["leftovers kept"] == 0
    assert seen["whole"] + seen["absent"] == count
    assert seen["leftovers"] > 0  # some died in the middle


@pytest.mark.slow
@pytest.mark.parametrize("count", [7, pytest.param(48, marks=pytest.mark.soak)])
def test_a_full_disk_is_told_and_leaves_nothing_half(count, tmp_path, record_property):
    seen = full_disk(count, 0, tmp_path)
    disks = seen.pop("on small disk", 0)
    limits = seen.pop("on size limit", 0)
    record_property("promise", "A full disk is told in one line, and no file is half written.")
    record_property(
        "did",
        "save, predict, evaluate, train and the cache with little room: "
        f"{limits} under RLIMIT_FSIZE, {disks} on a small tmpfs",
    )
    record_property("times", count)
    faults = count - seen["told"] - seen["finished"]
    record_property("outcome", f"{seen['told']} told, {seen['finished']} fitted in, {faults} other")
    assert set(seen) <= {"told", "finished"}
    assert seen["told"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "more"),
    [
        # without what is computed and drawn when the training has ended
        (1, ["--no-audit", "--no-maps", "--dpi", "30"]),
        pytest.param(12, [], marks=pytest.mark.soak),
    ],
)
def test_a_signal_ends_a_training_in_order(count, more, tmp_path, record_property):
    seen = ended_by_signals(count, 0, tmp_path, more=more)
    record_property("promise", "SIGTERM and SIGHUP end a command in order, as Ctrl-C does.")
    record_property(
        "did", "a signal at a random moment of fundus train, half of them with two processes"
    )
    record_property("times", count)
    good = seen["in order"] + seen["had ended"] + seen["had not begun"]
    record_property(
        "outcome",
        f"{good} ended with one line, code 143 or 129, no child process and nothing half, "
        f"{count - good} other",
    )
    assert set(seen) <= {"in order", "had ended", "had not begun"}


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, pytest.param(30, marks=pytest.mark.soak)])
def test_many_fits_leave_nothing_behind(count, tmp_path, record_property):
    seen = many_fits(count, 0, tmp_path)
    growth = seen["rss"] / seen["rss early"] - 1
    threads = seen["threads"] - seen["threads early"]
    descriptors = seen["descriptors"] - seen["descriptors early"]
    record_property("promise", "Fits leave no memory, threads or open files behind.")
    record_property("did", "fits of six kinds of model in one process, each saved and loaded")
    record_property("times", count)
    record_property(
        "outcome",
        f"since the fifth: memory {growth:+.1%}, threads {threads:+d}, open files {descriptors:+d}",
    )
    assert growth < 0.05
    assert threads <= 0
    assert descriptors <= 0
