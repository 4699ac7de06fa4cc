"""Candidates for near duplicates: all pairs of a few, an index of many."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fundus.exceptions import DataWarning
from fundus.model_selection import neighbours
from fundus.model_selection.neighbours import neighbour_pairs

N, SIZE, COPIES = 3000, 96, 60


@pytest.fixture(scope="module")
def features():
    """Features of a falling spectrum with a common mean, and noisy copies at the end."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N, SIZE)) / np.sqrt(np.arange(1, SIZE + 1)) + 5.0
    values[-COPIES:] = values[:COPIES] + 0.02 * rng.normal(size=(COPIES, SIZE))
    return values.astype(np.float32)


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(neighbours, "ALL_PAIRS", 500)


def pair_set(pairs):
    return {tuple(pair) for pair in pairs.tolist()}


def test_all_pairs_are_the_nearest_by_cosine_of_standardised_features(features):
    values = features[:200].astype(float)
    unit = (values - values.mean(axis=0)) / values.std(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    expected = {tuple(sorted((i, int(j)))) for i in range(200) for j in np.argsort(-cosines[i])[:3]}
    assert pair_set(neighbour_pairs(features[:200], 3)) == expected


def test_the_index_finds_every_copy_and_no_row_as_its_own(features, small_limit):
    pytest.importorskip("faiss", reason="needs the extra large")
    pairs = neighbour_pairs(features, 5)
    assert pair_set(pairs) >= {(k, N - COPIES + k) for k in range(COPIES)}
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.min() >= 0
    assert pairs.max() < N


def test_the_index_is_nearly_as_complete_as_all_pairs(features, monkeypatch):
    pytest.importorskip("faiss", reason="needs the extra large")
    every = pair_set(neighbour_pairs(features, 5))
    monkeypatch.setattr(neighbours, "ALL_PAIRS", 500)
    found = pair_set(neighbour_pairs(features, 5, n_jobs=1))
    assert pair_set(neighbour_pairs(features, 5, exact=True)) == every
    assert found != every  # it is the index that was asked
    assert len(found & every) > 0.7 * len(every)


def test_the_index_says_the_same_twice(features, small_limit):
    pytest.importorskip("faiss", reason="needs the extra large")
    assert np.array_equal(neighbour_pairs(features, 5), neighbour_pairs(features, 5))


def test_without_the_index_many_take_long_and_it_is_told(features, small_limit, monkeypatch):
    expected = neighbour_pairs(features[:500], 5)
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(neighbours, "ALL_PAIRS", 499)
    with pytest.warns(DataWarning, match=r"All pairs of 500 images .* fundus-zoo\[large\]"):
        assert np.array_equal(neighbour_pairs(features[:500], 5), expected)


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_has_no_neighbour(features, n):
    assert neighbour_pairs(features[:n], 5).shape == (0, 2)


def test_equal_features_are_neighbours():
    assert len(neighbour_pairs(np.ones((4, 3), dtype=np.float32), 3)) == 6
