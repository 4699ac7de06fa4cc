"""Trainings that are killed at random moments and go on."""

from __future__ import annotations

import pytest
from attacks.resume import kills_of_train

#: Without what is computed and drawn when the training has ended.
PLAIN = ["--no-audit", "--no-maps", "--dpi", "30"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "size"),
    [
        (1, {"epochs": 3, "each": 1, "more": PLAIN}),
        pytest.param(32, {}, marks=pytest.mark.soak),
    ],
)
def test_a_killed_training_goes_on_with_the_same_result(count, size, tmp_path, record_property):
    outcomes = kills_of_train(count, 0, tmp_path, **size)
    kills = outcomes.pop("kills")
    promise = "A killed `fundus train` goes on, with the same result to the bit"
    record_property("promise", promise)
    record_property("did", "SIGKILL at random moments, `--resume` until complete; 4 kinds of runs")
    record_property("times", kills)
    record_property("outcome", "; ".join(f"{n} runs {what}" for what, n in outcomes.items()))
    assert kills >= count
    assert set(outcomes) == {"equal to the bit"}
