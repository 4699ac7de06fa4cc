"""Tests and doctests keep their frozen work and their weights apart from the user's."""

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(folder))
    # a folder that is not there, and no waiting that the user's environment asks for
    monkeypatch.setenv("FUNDUS_WEIGHTS_DIR", str(tmp_path_factory.getbasetemp() / "no-weights"))
    monkeypatch.delenv("FUNDUS_NETWORK_SECONDS", raising=False)
