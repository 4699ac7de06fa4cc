"""``fundus train --engine``."""

from __future__ import annotations

import pytest
from cli.conftest import PLAIN, TINY

distributed = pytest.importorskip("distributed", reason="dask is not installed")


@pytest.fixture
def scheduler():
    """The address of a scheduler with two workers, which are threads of this process."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    with distributed.LocalCluster(
        **options, protocol="tcp", host="127.0.0.1", dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("head", [["ridge"], ["softmax", "--epochs", "1", "--freeze", "0.5"]])
def test_a_run_on_workers_is_one_of_this_machine(run, folder, scheduler, tmp_path, head):
    """Features are made on the workers, or folds are trained there where layers are."""
    found = []
    for engine in ((), ("--engine", "dask", "--scheduler", scheduler)):
        out, cache = tmp_path / f"run-{len(engine)}", tmp_path / f"cache-{len(engine)}"
        folders = ("--out", out, "--cache-dir", cache)
        options = (*TINY, *PLAIN, "--folds", "2", "--head", *head, *folders)
        told = run("train", folder, *options, *engine).stderr
        assert ("Dask: features of" in told) == (bool(engine) and len(head) == 1)
        found.append((out / "oof.csv").read_text())
    assert found[0] == found[1]


def test_options_of_engines(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fundus.distributed.dask_engine.ANSWER_WITHIN", 0.5)
    options = ("train", folder, *TINY, "--head", "ridge", "--out", tmp_path / "run")
    told = run(*options, "--scheduler", "tcp://127.0.0.1:1", code=2).stderr
    assert "it needs --engine" in told
    told = run(*options, "--engine", "dask", "--scheduler", "tcp://127.0.0.1:1", code=1).stderr
    assert "No Dask scheduler answers at 'tcp://127.0.0.1:1'" in told
    assert not (tmp_path / "run").exists()
