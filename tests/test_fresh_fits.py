"""A fit gives the bits of a fit in a fresh process, under the settings that stand when it starts.

Whatever ran before in the process, whoever draws from the process's generators meanwhile.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import keras
import numpy as np
import pytest
import tensorflow as tf
from joblib import parallel_config

from fundus import FoldEnsemble, ReluHead, SoftmaxHead, TransferClassifier
from fundus.exceptions import DivergedError
from fundus.heads.base import NeuralHead
from fundus.hookspecs import BackboneSpec
from fundus.training import compiled

HEAD = SoftmaxHead(units=8, layers=1, dropout=0.2)

#: Settings by name, as code: what is set, and what sets it back.
SETTINGS = {
    "float32": ("", ""),
    "mixed_float16": (
        "keras.config.set_dtype_policy('mixed_float16')",
        "keras.config.set_dtype_policy('float32')",
    ),
    "bfloat16": (
        "keras.config.set_dtype_policy('bfloat16')",
        "keras.config.set_dtype_policy('float32')",
    ),
    "eager": (
        "tf.config.run_functions_eagerly(True)",
        "tf.config.run_functions_eagerly(False)",
    ),
    "epsilon": ("keras.config.set_epsilon(1e-2)", "keras.config.set_epsilon(1e-7)"),
}

#: On Linux each setting has a fork of one process that has imported everything and run nothing:
#: TensorFlow starts in the forks, and imports take longer than fits.
FRESH = """
import json, os, sys, warnings
import keras, numpy as np, tensorflow as tf
from fundus import SoftmaxHead, TransferClassifier
import fundus.training.trainer

warnings.filterwarnings("ignore", "Even though", UserWarning)  # tf.data goes on as a graph

def fit(setting):
    exec(setting)
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = (rng.normal(size=(90, 12)) + 3 * np.eye(12)[y]).astype("float32")
    head = SoftmaxHead(units=8, layers=1, dropout=0.2)
    model = TransferClassifier("precomputed", head, epochs=3, learning_rate=0.01, random_state=0)
    model.fit(X, y)
    print(json.dumps([model.history_["loss"], model.predict_proba(X).tolist()]), flush=True)

if len(sys.argv) == 2:
    fit(sys.argv[1])
else:
    for setting in sys.argv[1:]:
        pid = os.fork()
        if pid == 0:
            fit(setting)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0, setting
"""


def net(head=HEAD, **options):
    defaults = {"epochs": 3, "learning_rate": 0.01, "random_state": 0}
    return TransferClassifier("precomputed", head, **(defaults | options))


@contextmanager
def setting(name):
    turn_on, turn_off = SETTINGS[name]
    exec(turn_on)
    try:
        yield
    finally:
        exec(turn_off)


def said(model, X):
    return [model.history_["loss"], model.predict_proba(X).tolist()]


@pytest.fixture(scope="session")
def fresh():
    """What a fit in a process of its own gives, by setting."""
    settings = [turn_on for turn_on, _ in SETTINGS.values()]
    groups = [settings] if sys.platform == "linux" else [[setting] for setting in settings]
    found = []
    for group in groups:
        command = [sys.executable, "-c", FRESH, *group]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
        found += [json.loads(line) for line in out.stdout.splitlines() if line.startswith("[[")]
    return dict(zip(SETTINGS, found, strict=True))


class Meddling(keras.callbacks.Callback):
    """Changes the network that it sees, as callbacks may."""

    def on_train_end(self, logs=None):
        self.model.optimizer.learning_rate = 7.0
        self.model.layers[-1].trainable = False
        self.model.layers[-1].activation = keras.activations.linear


class Interrupting(keras.callbacks.ReduceLROnPlateau):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


def diverged(X, y, monkeypatch):
    with suppress(DivergedError):  # told where it is NaN at the end, and not only huge
        net(learning_rate=1e30).fit(X, y)


def interrupted(X, y, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks, "ReduceLROnPlateau", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            net().fit(X, y)


def with_callbacks(X, y, monkeypatch):
    net(callbacks=[Meddling()]).fit(X, y).predict(X)


def other_data(X, y, monkeypatch):
    net(random_state=5, learning_rate=0.1).fit(X[::-1] * 3, y[::-1])


def in_a_thread(X, y, monkeypatch):
    thread = threading.Thread(target=lambda: net(random_state=3).fit(X, y).predict(X))
    thread.start()
    thread.join()


BEFORE = [diverged, interrupted, with_callbacks, other_data, in_a_thread]


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Even though the `tf.config:UserWarning"
)  # tf.data stays a graph
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("float32", "mixed_float16") else pytest.mark.zoo)
        for name in SETTINGS
    ],
)
def test_a_fit_is_that_of_a_fresh_process(blobs, fresh, monkeypatch, name):
    X, y = blobs
    compiled._kept.clear()
    with setting(name):
        net(epochs=1).fit(X, y)  # a network is kept
    # what a fit leaves behind does not depend on its precision, but for a loss that was scaled
    for before in BEFORE if name == "float32" else [diverged, with_callbacks]:
        with setting(name):
            before(X, y, monkeypatch)
            assert said(net().fit(X, y), X) == fresh[name], before.__name__


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Even though the `tf.config:UserWarning"
)  # tf.data stays a graph
def test_a_fit_after_others_under_other_settings_is_that_of_a_fresh_process(blobs, fresh):
    X, y = blobs
    compiled._kept.clear()
    for name in SETTINGS:
        with setting(name):
            net(epochs=1).fit(X, y).predict(X)  # a network is kept
    for name in SETTINGS:
        with setting(name):
            assert said(net().fit(X, y), X) == fresh[name], name


@pytest.mark.slow
def test_settings_make_a_difference(fresh):
    """Or the test above would show nothing."""
    policies = ("float32", "mixed_float16", "bfloat16")
    assert len({json.dumps(fresh[name]) for name in policies}) == 3


class RemembersLayer(keras.layers.Layer):
    """A foreign layer that keeps in Python how often it was built into a graph."""

    traced = 0

    def call(self, x):
        self.traced += 1
        return x * float(self.traced)


class RemembersHead(SoftmaxHead):
    def build(self, features, n_grades):
        return super().build(RemembersLayer()(features), n_grades)


@pytest.mark.slow
def test_a_network_with_foreign_parts_is_not_kept(blobs):
    X, y = blobs
    compiled._kept.clear()
    net(RemembersHead(units=8, layers=1)).fit(X, y)
    assert not compiled._kept


@pytest.mark.slow
def test_a_model_predicts_under_the_policy_it_was_trained_with(blobs, tmp_path):
    import fundus

    X, y = blobs
    with setting("mixed_float16"):
        model = net().fit(X, y)
        expected = model.predict_proba(X)
    assert np.array_equal(model.predict_proba(X), expected)
    model.save(tmp_path / "model")
    assert np.array_equal(fundus.load(tmp_path / "model").predict_proba(X), expected)
    assert not np.array_equal(net().fit(X, y).predict_proba(X), expected)


@pytest.mark.slow
def test_weights_that_numpys_files_do_not_know_can_be_saved(blobs, tmp_path):
    import fundus

    X, y = blobs
    with setting("bfloat16"):
        model = net().fit(X, y)
    model.save(tmp_path / "model")
    again = fundus.load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


# --- seeds ---------------------------------------------------------------------------------------


#: Networks that differ from the softmax head in their loss alone; left to `make zoo`.
ALIKE = ("corn", "soft_labels")


@contextmanager
def drawing():
    """Another thread draws from all generators of the process, as fast as it can."""
    stop = threading.Event()
    drawn = []

    def draw():
        while not stop.is_set():
            drawn.append(random.random())
            np.random.random()  # noqa: NPY002
            tf.random.uniform(())

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield drawn
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("head", [HEAD, ReluHead(units=8, layers=1)])
def test_who_draws_meanwhile_changes_no_bit(blobs, head):
    X, y = blobs
    model = net(head, epochs=2, validation_fraction=0.3)
    alone = said(model.fit(X, y), X)
    with drawing() as drawn:
        before = len(drawn)
        assert said(model.fit(X, y), X) == alone
        assert len(drawn) > before


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    ["softmax", "relu", "coral", *(pytest.param(n, marks=pytest.mark.zoo) for n in ALIKE)],
)
def test_our_heads_give_the_bits_of_deterministic_operations(blobs, head):
    from tensorflow.python.framework import config

    X, y = blobs
    model = net(head, validation_fraction=0.2, epochs=2)
    plain = said(model.fit(X, y), X)
    config.enable_op_determinism()
    try:
        assert said(model.fit(X, y), X) == plain
    finally:
        config.disable_op_determinism()


@pytest.mark.slow
def test_random_backbone_weights_are_the_fits_own(photographs):
    def fit():
        model = TransferClassifier(
            "tiny", "softmax", weights=None, image_size=32, epochs=1, random_state=0
        )
        return model.fit(photographs.paths, photographs.grades).predict_severity(photographs.paths)

    alone = fit()
    with drawing():
        assert np.array_equal(fit(), alone)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, None])
def test_a_fit_neither_sets_nor_rewinds_the_callers_streams(blobs, seed):
    X, y = blobs

    def draw(fitting):
        keras.utils.set_random_seed(11)
        drawn = []
        for _ in range(2):
            drawn += [random.random(), np.random.random()]  # noqa: NPY002
            drawn += [float(tf.random.uniform(())), float(keras.random.normal(()))]
            if fitting:
                net(random_state=seed, epochs=1).fit(X, y).predict(X)
        return drawn

    assert draw(True) == draw(False)


@pytest.mark.slow
def test_a_draw_inside_a_fit_is_the_callers_next(blobs):
    """What a callback draws is not from the fit's generator, which Keras alone uses."""
    X, y = blobs
    drawn = []

    class Draws(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            drawn.append(random.random())

    random.seed(3)
    net(epochs=2, callbacks=[Draws()]).fit(X, y)
    random.seed(3)
    assert drawn == [random.random(), random.random()]


@pytest.mark.slow
def test_workers_fit_as_the_caller_does(blobs):
    X, y = blobs

    def fit(n_jobs):
        model = FoldEnsemble(net(grades=3), cv=2, n_jobs=n_jobs, random_state=0)
        return model.fit(X, y).oof_proba_

    with setting("mixed_float16"):
        alone = fit(1)
        for backend in ("loky", "threading"):
            with parallel_config(backend):
                assert np.array_equal(fit(2), alone), backend
    assert not np.array_equal(fit(1), alone)


@pytest.mark.slow
def test_dask_workers_fit_as_the_caller_does(photographs):
    pytest.importorskip("distributed", reason="dask is not installed")
    from distributed import Client, LocalCluster

    X, y = photographs.paths, photographs.grades
    model = TransferClassifier(
        "tiny", HEAD, weights="fixed", image_size=32, epochs=2, grades=5, learning_rate=0.01,
        random_state=0,
    )  # fmt: skip

    def fit(n_jobs):
        return FoldEnsemble(model, cv=2, n_jobs=n_jobs, random_state=0).fit(X, y).oof_proba_

    local = fit(1)
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster), parallel_config("dask"):
        assert np.array_equal(fit(-1), local)


# --- numbers that are not finite ------------------------------------------------------------------


class NaNHead(NeuralHead):
    """A plugin's head whose outputs are fine and whose probabilities are not."""

    def build(self, features, n_grades):
        return keras.layers.Dense(n_grades, activation="softmax")(features)

    def loss(self, n_grades):
        return "sparse_categorical_crossentropy"

    def encode(self, positions, n_grades):
        return positions

    def decode(self, outputs, n_grades):
        proba = outputs.astype(np.float64)
        proba[1] = np.nan
        return proba


def test_a_training_that_diverges_is_an_error(blobs):
    X, y = blobs
    with pytest.raises(DivergedError, match=r"SoftmaxHead.*diverged.*learning_rate below 1e\+30"):
        net(learning_rate=1e30).fit(X, y)
    assert issubclass(DivergedError, FloatingPointError)


def test_a_plugins_head_is_looked_at_too(blobs):
    X, y = blobs
    model = net(NaNHead()).fit(X, y)
    for method in (model.predict, model.predict_proba, model.predict_severity):
        with pytest.raises(DivergedError, match="1 of 90 images, first .*nan.* for row 1"):
            method(X)


@pytest.mark.slow
def test_good_weights_before_the_divergence_are_kept_and_it_is_said(blobs):
    X, y = blobs

    class Breaks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    with pytest.warns(UserWarning, match="diverged: the loss was nan in epoch 3 of 3.*were kept"):
        model = net(callbacks=[Breaks()]).fit(X, y)
    assert np.array_equal(
        model.predict_proba(X), net(epochs=2, callbacks=[Breaks()]).fit(X, y).predict_proba(X)
    )


@pytest.mark.slow
def test_a_search_goes_on_past_a_candidate_that_diverges(blobs):
    from sklearn.exceptions import FitFailedWarning
    from sklearn.model_selection import GridSearchCV

    X, y = blobs

    def scores(rates):
        search = GridSearchCV(net(), {"learning_rate": rates}, cv=2, refit=False)
        search.fit(X, y)
        found = search.cv_results_["mean_test_score"]
        return dict(zip(rates, found.tolist(), strict=True)), search.best_params_

    alone, best = scores([1e-2, 1e-3])
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        after, chosen = scores([1e30, 1e-2, 1e-3])
    assert np.isnan(after.pop(1e30))
    assert (after, chosen) == (alone, best)


def nan_weights(*, image_size, weights):
    inputs = keras.Input((image_size, image_size, 3))
    layer = keras.layers.Conv2D(4, 3, bias_initializer=keras.initializers.Constant(np.nan))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("head", ["logistic", "softmax"])
def test_features_that_are_not_finite_are_an_error(photographs, cache, head):
    spec = BackboneSpec(
        name="broken", build=nan_weights, image_size=32, parameters=112, licence="-"
    )
    model = TransferClassifier(spec, head, weights=None, cache=cache, random_state=0)
    first = str(photographs.paths[0])
    with pytest.raises(DivergedError, match="'broken' gives features that are not finite") as told:
        model.fit(photographs.paths, photographs.grades)
    assert first in str(told.value)
