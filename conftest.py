"""Tests and doctests keep their frozen work apart from the user's cache."""

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(folder))
