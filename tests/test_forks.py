"""After a fork: what is cached goes on, and what needs TensorFlow says so in place of hanging."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

BEGIN = """
import json, multiprocessing, os, sys, threading, traceback, warnings
import numpy as np
from fundus import TransferClassifier, make_fundus
from fundus.exceptions import BackendError

warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks beside threads
data = make_fundus(24, 32, 0, out_dir=sys.argv[1])
X, y = data.paths, data.grades
fork = multiprocessing.get_context("fork")

def model(head="logistic", **options):
    options = {"weights": "fixed", "image_size": 32, "epochs": 1, "random_state": 0} | options
    return TransferClassifier("tiny", head, **options)

def in_a_child(function, *args):
    with fork.Pool(1) as pool:
        return pool.apply_async(function, args).get(timeout=60)

"""

#: What one process does, one after another; it prints what went wrong with each.
SCENES = (
    BEGIN
    + """
def start():
    assert "tensorflow" not in sys.modules
    pid = os.fork()
    if pid == 0:  # it leaves nothing in the store, or the next scene would start no TensorFlow
        net = model("softmax", cache=False)
        os._exit(0 if len(net.fit(X, y).predict(X)) == len(X) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def features():
    fitted = model().fit(X, y)
    expected = fitted.predict_proba(X)
    assert np.array_equal(in_a_child(fitted.predict_proba, X), expected)
    assert np.array_equal(in_a_child(fit_again, 1), expected)
    # and the parent's store is as it was
    assert np.array_equal(model().fit(X, y).predict_proba(X), expected)

def fit_again(C):
    return model().fit(X, y).predict_proba(X)

def no_store():
    refused(model(cache=False))

def neural_head():
    refused(model("softmax"))

def refused(model):
    fitted = model.fit(X, y)
    fitted.predict(X)
    try:
        in_a_child(fitted.predict, X)
    except BackendError as error:
        assert "spawn" in str(error) and "loky" in str(error), error
    else:
        raise AssertionError("it predicted")
    assert len(fitted.predict(X)) == len(X)

def lock():
    from fundus.runtime.seeds import one_at_a_time
    from fundus.store import open_store
    fitted = model().fit(X, y)
    expected = fitted.predict(X)
    held, done = threading.Event(), threading.Event()
    def hold():
        with one_at_a_time, open_store(True)._turn, open_store(True).digests._environment._turn:
            held.set()
            done.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        got = in_a_child(fitted.predict, X)
    finally:
        done.set()
        thread.join()
    assert np.array_equal(got, expected)

found = {}
for scene in (start, features, no_store, neural_head, lock):
    try:
        scene()
        found[scene.__name__] = "fine"
    except BaseException:
        found[scene.__name__] = traceback.format_exc()
assert "tensorflow" in sys.modules
print(json.dumps(found))
"""
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What came of each scene."""
    folder = tmp_path_factory.mktemp("forks")
    done = subprocess.run(
        [sys.executable, "-c", SCENES, str(folder)],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"FUNDUS_CACHE_DIR": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_cached_features_serve_prediction_and_fits(found):
    assert found["features"] == "fine"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["no_store", "neural_head"])
def test_what_needs_tensorflow_says_so(found, what):
    assert found[what] == "fine"


@pytest.mark.slow
def test_a_lock_that_a_thread_held_is_free_in_the_child(found):
    assert found["lock"] == "fine"


@pytest.mark.slow
def test_tensorflow_may_start_in_the_child(found):
    assert found["start"] == "fine"
