"""`fundus.distributed`: the same features on several workers, whatever happens to them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, cross_validate

from fundus import Cache, FeatureExtractor, FoldEnsemble, TransferClassifier
from fundus.distributed import agreement, extract, local_folder, shards
from fundus.distributed.opening import engine_of, started
from fundus.exceptions import (
    EngineError,
    ImageReadError,
    InvalidParameterError,
    StoreError,
    UnknownNameError,
)
from fundus.store import open_store

distributed = pytest.importorskip("distributed", reason="dask is not installed")


def tiny(cache, **more):
    return FeatureExtractor("tiny", weights="fixed", cache=cache, **more)


@pytest.fixture(scope="module")
def client():
    """Two workers that are threads of this process."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    with (
        distributed.LocalCluster(**options, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def files(photographs, tmp_path):
    """12 photographs of this test's own."""
    for path in photographs.paths[:12]:
        shutil.copy(path, tmp_path)
    paths = [str(tmp_path / Path(path).name) for path in photographs.paths[:12]]
    while time.time() - os.stat(paths[-1]).st_ctime < 0.2:  # settled, so that digests are kept
        time.sleep(0.05)
    return paths


class Engine:
    """Workers in this process, whose answers a test chooses; tasks run when they are waited for."""

    name = "Toy"
    deaths = ()

    def __init__(self, n_workers=1):
        self.n_workers, self.answers, self.log = n_workers, {}, []

    def workers(self):
        return [f"worker-{k}" for k in range(self.n_workers)]

    def everywhere(self, function, *args):
        found = {}
        for name in self.workers():
            try:
                found[name] = function(*args)
            except Exception as error:
                found[name] = error
        return found | (self.answers if args == ("keras",) else {})

    def submit(self, function, *args):
        self.log.append(("submit", args[-1].rows.tolist()))
        return _Task(lambda: function(*args))

    def some_done(self, tasks, seconds):
        return tasks[:1]

    def result(self, task):
        return task.call()

    def cancel(self, tasks):
        self.log.append(("cancel", len(tasks)))


class _Task:
    def __init__(self, call):
        self.call = call


def on(monkeypatch, engine):
    monkeypatch.setattr("fundus.distributed.extraction.engine_of", lambda client: engine)


# --- the same result ------------------------------------------------------------------------------


@pytest.mark.parametrize("worker_store", [True, False])
def test_workers_give_the_bits_of_one_machine(client, files, tmp_path, worker_store):
    alone = tiny(False, power=0.5).fit_transform(files)
    there = tmp_path / "there" if worker_store else False
    extractor = tiny(tmp_path / "here", power=0.5)
    found = extract(files, client=client, extractor=extractor, shard_size=5, worker_cache=there)
    assert np.array_equal(found.features, alone)
    assert found.n_known == 0
    assert sum(worker.n_images for worker in found.workers.values()) == 12
    again = extract(files, client=client, extractor=extractor, worker_cache=there)
    assert np.array_equal(again.features, alone)
    assert (again.n_known, again.workers) == (12, {})


def test_the_callers_store_has_what_a_fit_needs(client, files, tmp_path, monkeypatch):
    extractor = tiny(tmp_path / "here").fit(files)
    found = extract(files, client=client, extractor=extractor, worker_cache=tmp_path / "there")
    monkeypatch.setattr("fundus.data.inputs.read_bytes", None)  # no photograph is read
    assert np.array_equal(extractor.transform(files), found.features)


def test_images_in_memory_travel(client, tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (7, 40, 60, 3), dtype=np.uint8)
    extractor = tiny(False)
    found = extract(X, client="dask", extractor=extractor, shard_size=2, worker_cache=False)
    assert np.array_equal(found.features, extractor.fit_transform(X))


def test_a_store_of_half_numbers_has_them_wherever_they_are_made(client, files, tmp_path):
    alone = tiny(Cache(tmp_path / "alone", dtype="float16")).fit_transform(files)
    for there in (False, tmp_path / "there"):
        extractor = tiny(Cache(tmp_path / f"here {there is False}", dtype="float16"))
        found = extract(files, client=client, extractor=extractor, worker_cache=there)
        assert np.array_equal(found.features, alone)


def test_images_that_cannot_be_read_are_gathered(client, files, tmp_path):
    Path(files[3]).write_bytes(b"no image")
    Path(files[8]).write_bytes(Path(files[8]).read_bytes()[:-40])
    good = [row for row in range(12) if row not in (3, 8)]
    options = {"client": client, "shard_size": 4, "worker_cache": tmp_path / "there"}
    with pytest.raises(ImageReadError, match=r"Row 3: .*1 more rows"):
        extract(files, extractor=tiny(tmp_path / "here"), **options)
    # what could be read was kept before the error
    found = extract(files, extractor=tiny(tmp_path / "here"), on_error="skip", **options)
    assert found.n_known == 10
    assert list(found.unread) == [3, 8]
    assert np.isnan(found.features[[3, 8]]).all()
    alone = tiny(False).fit_transform([files[row] for row in good])
    assert np.array_equal(found.features[good], alone)


@pytest.mark.slow
def test_searches_and_ensembles_on_dask_are_those_of_one_machine(client, photographs):
    X, y = photographs.paths, photographs.grades
    ridge = TransferClassifier("tiny", "ridge", weights="fixed", grades=5, cache=False)

    def fits(n_jobs):
        search = GridSearchCV(ridge, {"power": [None, 0.5]}, cv=2, n_jobs=n_jobs).fit(X, y)
        scores = cross_validate(ridge, X, y, cv=2, n_jobs=n_jobs)
        ensemble = FoldEnsemble(ridge, cv=2, n_jobs=n_jobs, random_state=0).fit(X, y)
        found = search.cv_results_["mean_test_score"], scores["test_score"], ensemble.oof_severity_
        return np.concatenate(found)

    local = fits(1)
    with parallel_config("dask"):
        assert np.array_equal(fits(-1), local)


# --- workers that differ --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ("0.0.1", r"worker-1 has keras 0\.0\.1, and this process"),
        (metadata.PackageNotFoundError("keras"), "worker-1 has no keras"),
        (OSError("broken"), "worker-1 cannot do this work"),
    ],
)
def test_other_releases_are_told_before_work(files, monkeypatch, answer, match):
    engine = Engine(2)
    engine.answers["worker-1"] = answer
    on(monkeypatch, engine)
    with pytest.raises(EngineError, match=match):
        extract(files, extractor=tiny(False), worker_cache=False)
    assert not engine.log


@pytest.mark.parametrize("which", ["missing", "other"])
def test_other_images_are_told_before_work(files, monkeypatch, which):
    engine = Engine(1)
    on(monkeypatch, engine)
    examine = agreement.examine

    def elsewhere(task, sample):
        found = examine(task, sample)
        found["digests"][-1] = None if which == "missing" else "0" * 64
        return found

    monkeypatch.setattr(agreement, "examine", elsewhere)
    match = "no file" if which == "missing" else "another file"
    with pytest.raises(EngineError, match=rf"sees other images: it has {match}.*{files[-1]}"):
        extract(files, extractor=tiny(False), worker_cache=False)
    assert not engine.log


def test_a_file_of_another_size_is_told_by_the_worker(files, monkeypatch):
    on(monkeypatch, Engine(1))
    stamp = shards.stamp_of
    monkeypatch.setattr(
        "fundus.distributed.extraction.stamp_of",
        lambda path: (1, 0) if path == files[5] else stamp(path),
    )
    with pytest.raises(EngineError, match="has 1 bytes here, and there"):
        extract(files, extractor=tiny(False), worker_cache=False)


def test_other_times_of_files_are_not_trusted(files, tmp_path, monkeypatch):
    on(monkeypatch, Engine(1))
    stamp = shards.stamp_of
    monkeypatch.setattr("fundus.distributed.extraction.stamp_of", lambda path: (stamp(path)[0], 1))
    extractor = tiny(tmp_path / "here")
    extract(files, extractor=extractor, worker_cache=False)
    store = open_store(tmp_path / "here")
    from fundus.store.memo import file_state

    assert store.digests.known([file_state(path) for path in files]) == [None] * 12


def test_a_worker_without_the_plugin_or_with_another_function(files, monkeypatch):
    engine = Engine(2)
    on(monkeypatch, engine)
    examine = agreement.examine

    def lacking(task, sample):
        raise UnknownNameError("There is no backbone 'tiny'.")

    monkeypatch.setattr(agreement, "examine", lacking)
    with pytest.raises(UnknownNameError, match="worker-0 cannot do this work: There is no"):
        extract(files, extractor=tiny(False), worker_cache=False)
    monkeypatch.setattr(
        agreement, "examine", lambda task, sample: examine(task, sample) | {"key": "0"}
    )
    with pytest.raises(EngineError, match="would compute other features"):
        extract(files, extractor=tiny(False), worker_cache=False)
    assert not engine.log


def test_a_late_worker_is_checked_by_its_first_shard(files):
    extractor = tiny(False).fit(files)
    task = shards.Task(extractor.frozen_, "another key", False, None)
    with pytest.raises(EngineError, match="would compute other features"):
        shards.do_shard(task, SimpleNamespace())


def test_no_workers_and_no_engine(files, monkeypatch):
    on(monkeypatch, Engine(0))
    with pytest.raises(EngineError, match="has no workers"):
        extract(files, extractor=tiny(False), worker_cache=False)
    with pytest.raises(InvalidParameterError, match=r"'client' parameter of extract"):
        engine_of(3)
    monkeypatch.setattr("fundus.distributed.dask_engine.ANSWER_WITHIN", 0.5)
    with (
        pytest.raises(EngineError, match=r"No Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        started("dask", "tcp://127.0.0.1:1", 1),
    ):
        pass


@pytest.mark.parametrize("wrong", [{"shard_size": 0}, {"worker_cache": 3}, {"on_error": "ignore"}])
def test_parameters(files, wrong):
    with pytest.raises(InvalidParameterError, match=rf"'{next(iter(wrong))}' parameter of extract"):
        extract(files, extractor=tiny(False), **wrong)


def test_network_file_systems_are_refused(tmp_path, monkeypatch, files):
    import psutil

    mounts = [("/", "ext4"), (str(tmp_path), "nfs4"), (str(tmp_path / "disk"), "xfs")]
    parts = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)
    assert local_folder.file_system(tmp_path / "disk" / "cache") == "xfs"
    assert local_folder.file_system(tmp_path.parent) == "ext4"
    assert local_folder.file_system(Path(f"{tmp_path}-beside")) == "ext4"
    on(monkeypatch, Engine(1))
    with pytest.raises(StoreError, match=r"worker-0 cannot .*network file system \(nfs4\)"):
        extract(files, extractor=tiny(False), worker_cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# --- what fails in the middle ---------------------------------------------------------------------


def test_a_failure_keeps_what_was_done(files, tmp_path, monkeypatch):
    """The third shard fails; a second call computes the other rows only."""
    engine, real = Engine(1), shards.do_shard

    def failing(task, shard):
        if 6 in shard.rows:
            raise MemoryError("Unable to allocate 9 GiB")
        return real(task, shard)

    on(monkeypatch, engine)
    monkeypatch.setattr("fundus.distributed.extraction.do_shard", failing)
    options = {"extractor": tiny(tmp_path / "here"), "shard_size": 3, "worker_cache": False}
    with pytest.raises(EngineError, match=r"ran out of memory in the shard from row 6 .*row 8"):
        extract(files, **options)
    assert engine.log[-1][0] == "cancel"
    monkeypatch.setattr("fundus.distributed.extraction.do_shard", real)
    found = extract(files, **options)
    assert found.n_known == 6
    assert np.array_equal(found.features, tiny(False).fit_transform(files))


def test_ctrl_c_gives_the_rest_up(files, tmp_path, monkeypatch):
    engine = Engine(2)
    on(monkeypatch, engine)

    def interrupted(tasks, seconds):
        raise KeyboardInterrupt

    engine.some_done = interrupted
    with pytest.raises(KeyboardInterrupt):
        extract(files, extractor=tiny(False), shard_size=3, worker_cache=False)
    assert engine.log[-1] == ("cancel", 4)


def test_shards_are_sent_as_workers_take_them(files, monkeypatch):
    """One that joins late gets shards; no more than two a worker are under way."""
    engine = Engine(1)
    on(monkeypatch, engine)
    under_way = []
    done = engine.some_done

    def watched(tasks, seconds):
        under_way.append(len(tasks))
        engine.n_workers = 3 if len(under_way) > 3 else 1
        return done(tasks, seconds)

    engine.some_done = watched
    extract(files, extractor=tiny(False), shard_size=1, worker_cache=False)
    assert under_way[:4] == [2, 2, 2, 2]
    assert max(under_way) == 6


class Hungry(BaseEstimator, ClassifierMixin):
    def __init__(self, size=9):
        self.size = size

    def fit(self, X, y):
        if X[0, 0] == 3:  # the second fold
            raise MemoryError("Unable to allocate 9 GiB")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def test_memory_that_is_full_names_the_fold_and_the_parameters(client):
    X, y = np.arange(12.0).reshape(-1, 1) // 2, np.arange(12) % 2
    folds = [(np.arange(4), np.arange(4, 8)), (np.arange(6, 12), np.arange(2))]
    model = FoldEnsemble(Hungry(size=8), cv=folds, n_jobs=2)
    with parallel_config("dask"), pytest.raises(MemoryError) as error:
        model.fit(X, y)
    assert error.value.__notes__[0] == "Memory was full in fold 1 of Hungry(size=8)."


# --- as it would run ------------------------------------------------------------------------------


def worker(address, name, folder):
    """A worker process that is a machine of its own: its store is in a folder of its own."""
    env = {**os.environ, "FUNDUS_CACHE_DIR": str(folder / name), "TF_CPP_MIN_LOG_LEVEL": "3"}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny"]
    command += ["--nthreads", "1", "--name", name, "--no-dashboard"]
    return subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_a_scheduler_that_starts_anew_is_told(files, tmp_path):
    from fundus.distributed.dask_engine import DaskEngine

    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with (
        distributed.LocalCluster(**options, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        engine = DaskEngine(client)
        task = engine.submit(time.sleep, 30)
        client.cancel([task], force=True)
        until = time.monotonic() + 10
        while not engine.some_done([task], 0.1) and time.monotonic() < until:
            continue
        with pytest.raises(EngineError, match="given the work up. What was done is kept"):
            engine.result(task)


def test_workers_see_no_patients_and_whole_paths(client, files, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(files[0]).parent)
    frame = pd.DataFrame({"path": [Path(path).name for path in files], "patient": "somebody"})
    seen = []
    plain = shards.do_shard

    def spying(task, shard):
        seen.append(shard.images)
        return plain(task, shard)

    monkeypatch.setattr("fundus.distributed.extraction.do_shard", spying)
    engine = Engine()
    on(monkeypatch, engine)
    found = extract(frame, extractor=tiny(False), worker_cache=False, shard_size=5)
    assert len(found.features) == len(files)
    assert [images.patients for images in seen] == [None] * 3
    assert [path for images in seen for path in images.paths] == files


@pytest.mark.slow
def test_machines_that_die_join_late_and_are_slow(photographs, tmp_path, monkeypatch):
    """Four processes, each with a store: the features of one; at most two shards made again."""
    from fundus.distributed.dask_engine import DaskEngine

    X, size = photographs.paths, 2
    alone = tiny(False).fit_transform(X)
    processes, n_done = {}, 0
    options = {"n_workers": 0, "dashboard_address": ":0", "host": "127.0.0.1"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        address = cluster.scheduler_address
        result = DaskEngine.result

        def watched(self, task):
            nonlocal n_done
            done = result(self, task)
            n_done += 1
            pids = {int(done.worker.split(":")[-1])}
            if n_done == 3:  # one ends in the middle, and another joins
                (victim,) = [p for p in processes.values() if p.pid in pids]
                victim.kill()
                processes["late"] = worker(address, "late", tmp_path)
            if n_done == 4:  # one is slow
                living = [p for p in processes.values() if p.poll() is None and p.pid not in pids]
                living[0].send_signal(signal.SIGSTOP)
                time.sleep(1)
                living[0].send_signal(signal.SIGCONT)
            return done

        monkeypatch.setattr(DaskEngine, "result", watched)
        try:
            for name in ("a", "b", "c"):
                processes[name] = worker(address, name, tmp_path)
            client.wait_for_workers(3, timeout=120)
            extractor = tiny(tmp_path / "here")
            found = extract(X, client=client, extractor=extractor, shard_size=size)
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
    assert np.array_equal(found.features, alone)
    assert not found.unread
    stores = [open_store(tmp_path / name) for name in processes if (tmp_path / name).is_dir()]
    made = sum(
        len(store.segment(info.name, dict).environment)
        for store in stores
        for info in store.infos()
    )
    assert len(X) <= made <= len(X) + 2 * size, made
    assert len(stores) >= 3
