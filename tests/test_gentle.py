"""`warmup_epochs`: the head first, then layers of the backbone, gently."""

from __future__ import annotations

import copy
import math
import pickle

import keras
import numpy as np
import pytest
from killing import killed
from sklearn.base import clone

import fundus
from fundus import Cache, FeatureExtractor, FoldEnsemble, SoftmaxHead, TransferClassifier
from fundus.data.inputs import as_images
from fundus.exceptions import FundusWarning, InvalidParameterError, PluginError
from fundus.frozen.loading import work_done
from fundus.frozen.rest import features_of_all_layers
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.sources import stored_source
from fundus.frozen.work import start_work
from fundus.training import compiled
from fundus.training.callbacks import AveragedWeights
from fundus.training.checkpoints import kept_in
from fundus.training.gentle import cosine, hold_norms, lower_rates
from fundus.training.tail import HeadFirst, Plateau, Training
from fundus.training.trainer import begin_with
from fundus.transfer import parameters, planning

HEAD = SoftmaxHead(units=8, layers=1, dropout=0.2)


@pytest.fixture(autouse=True)
def _activations_are_kept(monkeypatch):
    """The layers of this network are so fast that a busy machine may run them again instead."""
    monkeypatch.setattr(planning, "CLEARLY", 1e9)


def tiny(cache, **options):
    """Trains the second and third block of the tiny network."""
    defaults = {
        "weights": "fixed", "image_size": 32, "freeze": 4, "epochs": 7, "warmup_epochs": 3,
        "learning_rate": 0.01, "batch_size": 8, "patience": None, "random_state": 0, "grades": 5,
        "cache": cache,
    }  # fmt: skip
    return TransferClassifier("tiny", options.pop("head", HEAD), **(defaults | options))


#: The fewest epochs with one of the head alone and one of the layers.
SHORT = {"epochs": 2, "warmup_epochs": 1, "validation_fraction": 0.0}


def said(model):
    return [np.asarray(w).tobytes() for w in model.head_.weights()], model.history_


# --- the head alone -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_epochs_are_those_of_a_head_on_frozen_features(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    # so low a rate leaves everything as the head alone has left it
    model = tiny(tmp_path, epochs=4, learning_rate=1e-12).fit(X, y)
    alone = tiny(tmp_path, freeze="all", epochs=3, warmup_epochs=0, learning_rate="auto")
    alone.set_params(pool_over="all")
    alone.set_params(callbacks=keras.callbacks.LearningRateScheduler(lambda k, rate: rate))
    alone.fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X), atol=1e-5)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(model.history_[name][:3], alone.history_[name], rtol=1e-4)
        assert len(model.history_[name]) == 4
    untrained = clone(alone).set_params(epochs=1, learning_rate=1e-12).fit(X, y)
    assert not np.allclose(model.predict_proba(X), untrained.predict_proba(X), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("augment", [{}, {"augment": True}, {"augment": True, "augment_views": 2}])
def test_no_layer_runs_twice_for_the_features(augment, photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    rows = len(X) * (1 + augment.get("augment_views", 0))
    before = work_done.copy()
    first = tiny(tmp_path, **augment, epochs=3, warmup_epochs=2).fit(X, y)
    assert work_done["rest_passes"] - before["rest_passes"] == rows
    if "augment" not in augment or "augment_views" in augment:  # else each epoch has new pictures
        assert work_done["forward_passes"] - before["forward_passes"] == rows
    before = work_done.copy()
    again = tiny(tmp_path, **augment, epochs=3, warmup_epochs=2).fit(X, y)
    assert work_done["rest_passes"] == before["rest_passes"], "they were kept"
    assert said(again) == said(first)


@pytest.mark.slow
def test_the_features_are_those_of_the_whole_network(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    model = tiny(tmp_path, **SHORT).fit(X, y)
    work = start_work(FrozenSettings.of(model), as_images(X), model.frozen_)
    found = features_of_all_layers(stored_source(work)).features
    options = {"weights": "fixed", "image_size": 32, "pool_over": "all", "cache": False}
    np.testing.assert_allclose(found, FeatureExtractor("tiny", **options).fit_transform(X), 1e-4)


def test_a_head_that_builds_other_layers_is_refused():
    inputs = keras.Input((3,))
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(4)(inputs)))
    before = network.get_weights()
    begin_with(network, [np.ones((4, 2)), np.ones(2)])
    for a, b in zip(network.get_weights()[:2], before[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert (network.get_weights()[2] == 1).all()
    begin_with(network, [])
    with pytest.raises(PluginError, match=r"same layers at every call.*\(4, 2\).*\(5, 2\)"):
        begin_with(network, [np.ones((5, 2)), np.ones(2)])


# --- the layers after it --------------------------------------------------------------------------


def network_of(model):
    return {w.path: np.asarray(w) for w in model.head_.network().weights}


@pytest.mark.slow
def test_normalisations_are_held_and_the_rest_moves(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    before, after = (
        network_of(tiny(tmp_path, learning_rate=rate, **SHORT).fit(X, y)) for rate in (1e-12, 0.01)
    )
    moved = {path for path in before if not np.allclose(before[path], after[path], atol=1e-6)}
    assert {path for path in before if "_bn/" in path} & moved == set()
    assert {"block2_conv/kernel", "block3_conv/kernel", "head_output/bias"} <= moved
    plain = network_of(tiny(tmp_path, warmup_epochs=0, epochs=1).fit(X, y))
    assert any(
        not np.allclose(before[path], plain[path], atol=1e-6) for path in plain if "_bn/" in path
    ), "without a warm-up they learn, as before"


def test_normalisations_inside_of_layers_are_held():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm = keras.layers.BatchNormalization()

        def call(self, x, training=None):
            return self.norm(x, training=training)

    inputs = keras.Input((3,))
    inner = keras.Model(inputs, keras.layers.BatchNormalization()(Block()(inputs)))
    outer_inputs = keras.Input((3,))
    outer = keras.Model(outer_inputs, keras.layers.LayerNormalization()(inner(outer_inputs)))
    hold_norms(outer)
    assert len(outer.trainable_variables) == 2  # of the layer normalisation
    x = np.random.default_rng(0).normal(5, 3, (16, 3)).astype(np.float32)
    np.testing.assert_allclose(outer(x, training=True), outer(x, training=False), rtol=1e-6)


def dense(n):
    inputs = keras.Input((3,))
    x = inputs
    for _ in range(n):
        x = keras.layers.Dense(3, use_bias=False)(x)
    body = keras.Model(inputs, x)
    return keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(x)), body


@pytest.mark.slow
@pytest.mark.parametrize("scaled", [False, True])
def test_lower_layers_learn_more_slowly(scaled):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=(8, 1)).astype(np.float32)
    steps = []
    for lowest in (None, 0.1):
        keras.utils.set_random_seed(0)
        network, body = dense(2)
        optimizer = keras.optimizers.SGD(0.01)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0)
        network.compile(optimizer, loss="mean_squared_error")
        if lowest is not None:
            lower_rates(network, body, lowest)
        before = network.get_weights()
        network.train_on_batch(x, y)
        steps.append([b - a for a, b in zip(before, network.get_weights(), strict=True)])
    for plain, slow, factor in zip(*steps, (0.1, 0.1**0.5, 1.0), strict=True):
        assert np.abs(plain).max() > 1e-5
        np.testing.assert_allclose(slow, plain * factor, rtol=2e-2, atol=1e-7)


def test_the_rate_rises_and_falls():
    schedule = cosine(0.2, 50)
    expected = [0.2 * k / 5 for k in range(5)]
    expected += [0.1 * (1 + math.cos(math.pi * k / 45)) for k in range(46)]
    np.testing.assert_allclose([float(schedule(k)) for k in range(51)], expected, atol=1e-6)
    assert [float(cosine(0.2, 1)(k)) for k in (0, 1)] == pytest.approx([0.2, 0.2])


def test_phases():
    training = Training(0.01, epochs=23, batch_size=16, head_first=HeadFirst(3, 0.5), log_dir="x")
    alone, after = training.head_alone(), training.after_head(33)
    assert (alone.epochs, alone.rate, alone.plateau, alone.log_dir) == (3, 0.5, None, None)
    assert (after.epochs, after.plateau, after.log_dir) == (20, None, "x")
    assert (after.gently.steps, after.gently.averaged) == (60, 5)
    assert after.rate.warmup_target == 0.01
    own = Training(None, epochs=5, plateau=None, head_first=HeadFirst(3, None)).after_head(33)
    assert (own.rate, own.gently.averaged) == (None, 1)
    former = Training(0.01, plateau=Plateau(patience=7), head_first=HeadFirst(3, None))
    assert former.after_head(33).rate == 0.01


def test_rates_that_are_meant(photographs, tmp_path):
    run = parameters.TrainingSettings.of
    settings = run(tiny(tmp_path, learning_rate="auto"))
    training = settings.run(trains_backbone=True)
    assert (training.head_first.learning_rate, training.learning_rate) == (1e-3, 1e-4)
    training = run(tiny(tmp_path, learning_rate=0.3)).run(trains_backbone=True)
    assert (training.head_first.learning_rate, training.learning_rate) == (1e-3, 0.3)
    own = tiny(tmp_path, learning_rate="auto", optimizer=keras.optimizers.SGD(0.2))
    training = run(own).run(trains_backbone=True)
    assert (training.head_first.learning_rate, training.learning_rate) == (
        pytest.approx(0.2),
        pytest.approx(0.2),
    )
    plain = run(tiny(tmp_path, learning_rate="auto", warmup_epochs=0)).run(trains_backbone=True)
    assert (plain.head_first, plain.learning_rate) == (None, 1e-5)


class Seen(keras.callbacks.Callback):
    """Keeps the weights after each epoch, in the class, since fits use copies."""

    weights = None

    def on_epoch_end(self, epoch, logs=None):
        type(self).weights.append(self.model.get_weights())


@pytest.mark.slow
def test_the_weights_of_the_last_epochs_are_averaged(photographs, tmp_path):
    Seen.weights = []
    model = tiny(tmp_path, epochs=11, callbacks=Seen(), patience=20)
    model.fit(photographs.paths, photographs.grades)
    assert len(Seen.weights) == 8, "the callback is for the layers"
    expected = [np.mean(last, axis=0) for last in zip(*Seen.weights[-2:], strict=True)]
    for found, mean in zip(model.head_.weights(), expected, strict=True):
        np.testing.assert_allclose(found, mean, atol=1e-6)
    assert any(not np.array_equal(a, b) for a, b in zip(*Seen.weights[-2:], strict=True))


@pytest.mark.slow
def test_a_training_that_stops_early_keeps_its_best_epoch(photographs, tmp_path):
    y = np.random.default_rng(0).permutation(photographs.grades)
    Seen.weights = []
    model = tiny(tmp_path, epochs=40, patience=1, learning_rate=0.05, callbacks=Seen())
    model.set_params(validation_fraction=0.3).fit(photographs.paths, y)
    losses = model.history_["val_loss"][3:]
    assert len(losses) < 30, "so none of the averaged epochs was reached"
    best = Seen.weights[int(np.argmin(losses))]
    for found, weights in zip(model.head_.weights(), best, strict=True):
        np.testing.assert_array_equal(found, weights)


def test_a_mean_of_some_epochs_only_is_not_set():
    network, _ = dense(1)
    callback = AveragedWeights(4, 2)
    callback.set_model(network)
    callback.on_train_begin()
    for epoch in range(3):
        callback.on_epoch_end(epoch)
    network.set_weights([w + 1 for w in network.get_weights()])
    before = network.get_weights()
    callback.on_train_end()
    for a, b in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


# --- killed, copied, saved ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({"patience": 2, "validation_fraction": 0.3}, 1),
        ({"augment": True}, 2),
        (
            {
                "augment": True, "augment_views": 1, "validation_fraction": 0.0,
                "optimizer": keras.optimizers.SGD(0.01, momentum=0.9), "learning_rate": "auto",
            },
            2,
        ),
    ],
)  # fmt: skip
def test_killed_after_one_or_two_epochs_it_is_the_same(
    options, at, photographs, tmp_path, monkeypatch
):
    X, y = photographs.frame[:24], photographs.grades[:24] > 0
    model = tiny(tmp_path / "cache", grades=None, epochs=5, warmup_epochs=2, **options)
    whole = said(clone(model).fit(X, y))
    log = []
    for _ in range(40):
        with killed(monkeypatch, at=at, written=True) as calls, kept_in(tmp_path / "epochs"):
            again = clone(model).fit(X, y)
        log += calls
        if "killed" not in calls:
            break
    assert log.count("killed") >= (5 if at == 1 else 3)
    assert log.count(1) == 2, "the first epoch of the head, and the first of the layers"
    assert said(again) == whole


@pytest.mark.slow
def test_another_warm_up_is_another_fit(photographs, tmp_path, monkeypatch):
    X, y = photographs.frame[:24], photographs.grades[:24] > 0
    model = tiny(tmp_path / "cache", grades=None)
    with killed(monkeypatch, at=6, written=True) as calls, kept_in(tmp_path / "epochs"):
        model.fit(X, y)
    assert calls == [1, 2, 3, None, 1, 2, "killed"]
    other = model.set_params(warmup_epochs=4, epochs=8)
    with kept_in(tmp_path / "epochs"):
        resumed = said(other.fit(X, y))
    assert resumed == said(other.fit(X, y))


@pytest.mark.slow
def test_copies_and_bundles(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    model = tiny(tmp_path / "cache", **SHORT).fit(X, y)
    proba = model.predict_proba(X)
    model.save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert loaded.warmup_epochs == 1
    for copied in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(copied.predict_proba(X), proba)
    again = clone(loaded).set_params(cache=tmp_path / "cache").fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), proba)


def test_a_pickle_from_before(photographs, tmp_path):
    model = tiny(tmp_path, warmup_epochs=0)
    state = model.__getstate__()
    for name in ("warmup_epochs", "aperture"):
        state.pop(name)
    old = TransferClassifier.__new__(TransferClassifier)
    old.__setstate__(state)
    assert (old.warmup_epochs, old.aperture) == (0, None)


@pytest.mark.slow
def test_folds_share_what_was_kept(photographs, tmp_path):
    before = work_done.copy()
    ensemble = FoldEnsemble(tiny(tmp_path, **SHORT), cv=2, random_state=0)
    ensemble.fit(photographs.frame, photographs.grades)
    for name in ("rest_passes", "forward_passes"):
        assert work_done[name] - before[name] == len(photographs.paths)


@pytest.mark.slow
def test_half_precision_in_the_store_gives_the_same_at_every_fit(photographs, tmp_path):
    cache = Cache(tmp_path, dtype="float16")
    X, y = photographs.paths, photographs.grades
    first, second = (said(tiny(cache, **SHORT).fit(X, y)) for _ in range(2))
    assert first == second


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "must"),
    [
        ({"warmup_epochs": 7}, "must be less than epochs=7, which counts them too"),
        ({"warmup_epochs": -1}, "must be an int of at least 0"),
        ({"freeze": "all"}, "must be 0 where no layer of the backbone is trained (freeze='all')"),
        ({"freeze": 1.0}, "must be 0 where no layer of the backbone is trained (freeze=1.0)"),
    ],
)
def test_what_cannot_be_is_refused(options, must, photographs, tmp_path):
    with pytest.raises(InvalidParameterError) as caught:
        tiny(tmp_path, **options).fit(photographs.paths, photographs.grades)
    assert f"The 'warmup_epochs' parameter of TransferClassifier {must}" in str(caught.value)


def test_a_head_of_scikit_learn_ignores_it(photographs, monkeypatch, tmp_path):
    monkeypatch.setattr(parameters, "_told", set())
    model = TransferClassifier("tiny", "logistic", weights="fixed", warmup_epochs=2, cache=tmp_path)
    with pytest.warns(FundusWarning, match="ignores warmup_epochs: leave out"):
        model.fit(photographs.paths, photographs.grades)


def test_the_plan_counts_one_pass_for_the_head(photographs, tmp_path):
    plan = tiny(tmp_path).plan(photographs.paths)
    assert plan.epochs == 5


@pytest.mark.slow
def test_the_networks_of_two_kinds_of_training_are_not_mixed_up(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    gentle, plain = tiny(tmp_path, **SHORT), tiny(tmp_path, epochs=1, warmup_epochs=0)
    alone = said(clone(gentle).fit(X, y)), said(clone(plain).fit(X, y))
    slower = said(clone(gentle).set_params(learning_rate=0.001).fit(X, y))
    longer = clone(gentle).set_params(epochs=gentle.epochs + 1)
    after_others = said(clone(longer).fit(X, y))  # another length of the cosine
    assert (said(clone(gentle).fit(X, y)), said(clone(plain).fit(X, y))) == alone
    assert slower != alone[0]
    compiled._kept.clear()
    assert said(clone(longer).fit(X, y)) == after_others
