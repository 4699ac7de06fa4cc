"""Features of a whole network, made of rounded or of exact outputs of its frozen part."""

from __future__ import annotations

import numpy as np
import pytest

from fundus import Cache, SoftmaxHead, TransferClassifier
from fundus.transfer import planning


@pytest.fixture(autouse=True)
def _activations_are_kept(monkeypatch):
    """The layers of this network are so fast that a busy machine may run them again instead."""
    monkeypatch.setattr(planning, "CLEARLY", 1e9)


def features_kept_by(cache, augment, photographs, monkeypatch):
    """What the head is first trained on."""
    from fundus.transfer import neural_heads

    seen = []
    whole = neural_heads.features_of_all_layers

    def watched(source):
        seen.append(whole(source))
        return seen[-1]

    monkeypatch.setattr(neural_heads, "features_of_all_layers", watched)
    model = TransferClassifier(
        "tiny", SoftmaxHead(units=8, layers=1), weights="fixed", image_size=32, freeze=4,
        epochs=2, warmup_epochs=1, random_state=0, grades=5, cache=cache, augment=augment,
        validation_fraction=0.0,
    )  # fmt: skip
    model.fit(photographs.paths, photographs.grades)
    monkeypatch.setattr(neural_heads, "features_of_all_layers", whole)
    return seen[0].features


@pytest.mark.slow
def test_a_fit_finds_the_same_whichever_fit_came_before(photographs, tmp_path, monkeypatch):
    # with new views in every epoch the pixels are kept, and without the activations, rounded
    alone, found = {}, {}
    for augment in (None, True):
        cache = Cache(tmp_path / f"alone {augment}", dtype="float16")
        alone[augment] = features_kept_by(cache, augment, photographs, monkeypatch)
    assert not np.array_equal(alone[None], alone[True])
    np.testing.assert_allclose(alone[None], alone[True], atol=0.01)
    both = Cache(tmp_path / "both", dtype="float16")
    for augment in (True, None):
        found[augment] = features_kept_by(both, augment, photographs, monkeypatch)
        np.testing.assert_array_equal(found[augment], alone[augment])
