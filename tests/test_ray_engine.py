"""Extraction on Ray."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fundus import FeatureExtractor, FoldEnsemble, TransferClassifier
from fundus.distributed import extract
from fundus.distributed.opening import started
from fundus.exceptions import EngineError, MissingDependencyError


def test_an_engine_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fundus-zoo\[ray\]'"):
        extract(np.zeros((1, 40, 60, 3), np.uint8), client="ray")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fundus-zoo\[dask\]'"):
        extract(np.zeros((1, 40, 60, 3), np.uint8), client="dask")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray leaves sockets open, and has warnings of its own
def test_ray_gives_the_bits_of_one_machine(photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token into the home folder
    pytest.importorskip("ray", reason="ray is not installed")
    X, y = photographs.paths, photographs.grades
    with pytest.raises(EngineError, match="Ray is not connected"):
        extract(X, client="ray")
    alone = FeatureExtractor("tiny", weights="fixed", cache=False).fit_transform(X)
    ridge = TransferClassifier("tiny", "ridge", weights="fixed", grades=5, cache=False)
    local = FoldEnsemble(ridge, cv=2, random_state=0).fit(X, y).oof_severity_
    with started("ray", None, 1) as engine:
        extractor = FeatureExtractor("tiny", weights="fixed", cache=tmp_path / "here")
        found = extract(
            X, client="ray", extractor=extractor, shard_size=16, worker_cache=tmp_path / "there"
        )
        with engine.joblib():
            there = FoldEnsemble(ridge, cv=2, n_jobs=-1, random_state=0).fit(X, y).oof_severity_
    assert np.array_equal(found.features, alone)
    assert sum(record.n_images for record in found.workers.values()) == 40
    assert np.array_equal(there, local)
