"""What turns scores into grades, as operations of Keras: the same as in arrays."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fundus.grades import in_keras
from fundus.grades.severity import (
    conditional_logit_proba,
    interpolated_proba,
    ordered_logit_proba,
    spread_proba,
    to_scale,
)
from fundus.meta.calibration import falling


def run(function, *arrays):
    """Values of a function of tensors, as a graph gives them."""
    inputs = [keras.Input(a.shape[1:], dtype=str(a.dtype)) for a in arrays]
    found = keras.Model(inputs, function(*inputs))(list(arrays), training=False)
    return np.asarray(found)


SCORES = np.random.default_rng(1).normal(0, 3, (50, 4)).astype(np.float32)


@pytest.mark.parametrize("name", ["conditional", "ordered", "huge"])
def test_logits_become_the_same_probabilities(name):
    z = SCORES if name == "conditional" else -np.sort(-SCORES, axis=1)
    z = np.float32(1e4) * z if name == "huge" else z
    ours, theirs = (
        (in_keras.conditional_logit_proba, conditional_logit_proba)
        if name == "conditional"
        else (in_keras.ordered_logit_proba, ordered_logit_proba)
    )
    assert np.abs(run(ours, z) - theirs(z)).max() < 1e-6


def test_the_best_is_a_place_also_where_nothing_is_known():
    scores = np.array([[0.1, 0.7, 0.7], [0.5, np.nan, 0.2], [np.nan] * 3], np.float32)
    assert run(in_keras.best_of, scores).tolist() == [1, 0, 0]


@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 4], [0, 1, 3, 4], [3, 0, 2], [2]])
@pytest.mark.parametrize("std", [None, 0.01, 0.8])
def test_a_severity_becomes_the_same_probabilities(positions, std):
    positions = np.array(positions)
    severity = np.concatenate([SCORES[:, 0], np.arange(-1, 6, 0.25)]).astype(np.float32)
    proba = run(lambda s: in_keras.spread_proba(s, positions, std)[0], severity)
    best = run(lambda s: in_keras.spread_proba(s, positions, std)[1], severity)
    expected = spread_proba(severity.astype(float), positions, std)
    assert np.abs(proba - expected).max() < 1e-5
    assert (best == interpolated_proba(severity, positions).argmax(axis=1)).all()


def test_scales_corners_and_falling_rows_are_the_same():
    x = SCORES[:, 0]
    own, whole = np.array([0, 2, 4]), np.arange(5)
    found = run(lambda s: in_keras.to_scale(s, np.array([0, 2, 4])), x)
    assert np.allclose(found, to_scale(x.astype(float), own, whole), atol=1e-5)
    corners, heights = [-2.0, -1.0, -1.0, 3.0], [0.0, 0.25, 0.5, 1.0]
    found = run(lambda s: in_keras.interpolated(s, corners, heights), x)
    assert np.allclose(found, np.interp(x, corners, heights), atol=1e-6)
    assert np.allclose(run(in_keras.falling, SCORES), falling(SCORES.astype(float)), atol=1e-5)
    assert in_keras.mean_of([None, None]) is None


def test_infinite_cutpoints_count_as_they_do_in_arrays():
    cutpoints = np.array([-np.inf, 0.5, 1.5, np.inf])
    found = run(lambda s: in_keras.cut(s, cutpoints, np.arange(5)), np.float32([-9, 0.5, 9]))
    assert found.tolist() == [1, 2, 3]
