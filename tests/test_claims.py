"""Several processes at one piece of frozen work: claims, and their share of the processors."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from fundus import FeatureExtractor, LogisticHead, TransferClassifier
from fundus.data.inputs import as_images
from fundus.frozen import filling
from fundus.frozen.filling import Job, fill
from fundus.frozen.loading import work_done
from fundus.images import ImageRecipe
from fundus.runtime.threads import opencv_in_our_threads, processor_share, thread_count
from fundus.store import open_store

NAME = "ab" * 32
KEYS = [bytes([k]) for k in range(5)]


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def test_no_entry_is_claimed_twice(store):
    with store.claims(NAME) as first, store.claims(NAME) as second:
        assert first.take(KEYS, 2) == ([0, 1], 2)
        assert second.take(KEYS, 9) == ([2, 3, 4], 5)
        assert first.take(KEYS, 9) == ([], 5)  # its own are being worked on
        first.release(KEYS[:1])
        assert second.take(KEYS[:2], 1) == ([0], 1)
    with store.claims(NAME) as third, store.claims("cd" * 32) as of_another_segment:
        assert third.take(KEYS, 9)[0] == [0, 1, 2, 3, 4]
        assert of_another_segment.take(KEYS, 9)[0] == [0, 1, 2, 3, 4]
    assert not list((store.path / "workers").iterdir())


def test_claims_of_the_dead_are_anybodys(store):
    code = (
        "import sys, time; from fundus.store import open_store\n"
        "claims = open_store(sys.argv[1]).claims('ab' * 32).__enter__()\n"
        "print(claims.take([bytes([k]) for k in range(3)], 3), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "([0, 1, 2], 3)"
        with store.claims(NAME) as living:
            assert living.take(KEYS, 9)[0] == [3, 4]
            process.kill()
            process.wait()
            assert living.take(KEYS, 9)[0] == [0, 1, 2]


def test_work_that_another_has_taken_on_is_waited_for(store, photographs, monkeypatch):
    images, segment = as_images(photographs.paths[:5]), store.segment(NAME, dict)
    made = []

    def compute(rows, batch, masks):
        made.extend(rows)
        return [(KEYS[row], np.zeros(1)) for row in rows]

    another = store.claims(NAME).__enter__()
    assert another.take(KEYS, 2)[0] == [0, 1]
    looks = []

    def finish_meanwhile(seconds):
        looks.append(seconds)
        segment.put_many([(KEYS[0], np.ones(1))])
        another.__exit__(None, None, None)  # the second it gives up

    monkeypatch.setattr(filling.time, "sleep", finish_meanwhile)
    fill(
        Job(images, ImageRecipe(32), KEYS, compute, "Working"),
        store,
        segment,
        n_jobs=1,
        verbose=0,
    )
    assert made == [2, 3, 4, 1]
    assert len(looks) == 1
    assert [array[0] for array in segment.get_many(KEYS)] == [1, 0, 0, 0, 0]


def _extract(paths, cache):
    before = work_done.copy()
    found = FeatureExtractor("tiny", weights="fixed", cache=cache).fit_transform(paths)
    return found, (work_done - before)["forward_passes"]


@pytest.mark.slow
def test_two_processes_do_the_work_once_between_them(photographs, tmp_path):
    paths = photographs.paths
    alone = FeatureExtractor("tiny", weights="fixed", cache=False).fit_transform(paths)
    results = Parallel(2)(delayed(_extract)(p, tmp_path) for p in (paths, paths[::-1]))
    assert np.allclose(results[0][0], alone, atol=1e-5)
    assert np.array_equal(results[0][0], results[1][0][::-1])
    assert results[0][1] + results[1][1] == len(paths)


def test_failed_work_gives_the_claims_back(photographs, store):
    def compute(rows, batch, masks):
        raise RuntimeError("no")

    segment = store.segment(NAME, dict)
    job = Job(as_images(photographs.paths[:5]), ImageRecipe(32), KEYS, compute, "Working")
    with pytest.raises(RuntimeError, match="no"):
        fill(job, store, segment, n_jobs=1, verbose=0)
    with store.claims(NAME) as another:
        assert another.take(KEYS, 9)[0] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
        ({"OMP_NUM_THREADS": "99"}, None),
        ({"LOKY_MAX_CPU_COUNT": "1"}, 1),  # joblib's own limit
    ],
)
def test_a_workers_share(environment, share, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    whole = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert processor_share() == (share or whole)
    assert thread_count(None) == thread_count(-1) == (share or whole)
    assert thread_count(3) == 3


@pytest.mark.slow
def test_tensorflow_keeps_to_the_share():
    # one process for both, in which TensorFlow is imported and not started
    code = (
        "import os\nimport tensorflow as tf\nfrom fundus.runtime import tensorflow as ours\n"
        "for said in ('3', ''):\n"
        "    os.environ['TF_NUM_INTRAOP_THREADS'] = said\n"
        "    ours._keep_to_share.cache_clear()\n"
        "    ours.require_tensorflow()\n"
        "    print(tf.config.threading.get_intra_op_parallelism_threads())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["0", "0" if (os.cpu_count() or 1) == 1 else "1"]


def test_opencvs_threads_come_back():
    import cv2

    before = cv2.getNumThreads()
    with opencv_in_our_threads():
        with opencv_in_our_threads():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


@pytest.mark.slow
def test_warm_workers_import_no_tensorflow(photographs, tmp_path):
    from sklearn.model_selection import GridSearchCV

    model = TransferClassifier("tiny", "logistic", weights="fixed", cache=tmp_path)
    grid = {"head": [LogisticHead(C=1e-3), LogisticHead(C=1e-2)]}
    X, y = photographs.paths, photographs.grades
    search = GridSearchCV(model, grid, cv=2, scoring=report_tensorflow, refit=False)
    search.fit(X, y)
    get_reusable_executor().shutdown(wait=True)  # workers that have loaded it for another test
    search.set_params(n_jobs=2).fit(X, y)
    seen = np.concatenate([search.cv_results_[f"split{k}_test_score"] for k in range(2)])
    assert (seen == 0).all()


def report_tensorflow(model, X, y):
    model.predict(X)
    return float("tensorflow" in sys.modules)
