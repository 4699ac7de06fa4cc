"""Neural heads: training as asked for, and each defect of scikeras 0.13 that we work around."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import keras
import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import check_cv

from fundus import ReluHead, SoftmaxHead, TransferClassifier
from fundus.exceptions import InvalidParameterError, WriteError
from fundus.frozen.sources import ArraySource
from fundus.training import batches as batches_module
from fundus.training.batches import FeatureBatches, StreamedBatches, TrainingRows, batches_of
from fundus.training.callbacks import EpochLog
from fundus.training.tail import Tail, Training, build_tail

HEAD = SoftmaxHead(units=8, layers=1, dropout=0.2)


def net(head=HEAD, **options):
    defaults = {"epochs": 3, "learning_rate": 0.01, "random_state": 0}
    return TransferClassifier("precomputed", head, **(defaults | options))


# --- what scikeras 0.13 gets wrong --------------------------------------------------------------


@pytest.mark.slow
def test_it_is_a_classifier_for_cross_validation_and_voting(blobs):
    X, y = blobs
    assert is_classifier(net())
    assert type(check_cv(3, y, classifier=is_classifier(net()))).__name__ == "StratifiedKFold"
    voting = VotingClassifier([("net", net()), ("lr", LogisticRegression())], voting="soft")
    assert voting.fit(X, y).predict_proba(X).shape == (90, 3)


def test_no_global_state_is_left_changed(blobs):
    from tensorflow.python.framework import config

    X, y = blobs
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global generator is what must not move
    expected = random.Random(5).random(), np.random.RandomState(5).random()
    before = config.is_op_determinism_enabled(), keras.config.floatx(), dict(os.environ)
    net().fit(X, y).predict(X)
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002
    after = config.is_op_determinism_enabled(), keras.config.floatx(), dict(os.environ)
    assert after == before
    assert config.is_op_determinism_enabled() is False


@pytest.mark.parametrize("dtype", [float, int])
def test_sample_weight_is_not_changed_in_place(blobs, dtype):
    X, y = blobs
    weight = np.ones(len(y), dtype=dtype)
    net(class_weight="balanced").fit(X, y, sample_weight=weight)
    assert (weight == 1).all()


def test_one_row_keeps_its_dimension(blobs):
    X, y = blobs
    model = net().fit(X, y)
    assert model.predict_proba(X[:1]).shape == (1, 3)
    assert np.allclose(model.predict_proba(X[:1]), model.predict_proba(X)[:1], atol=1e-6)


def test_a_fold_without_a_grade_keeps_the_others_labels(blobs):
    X, y = blobs
    kept = y != 1
    model = net(grades=3, epochs=15).fit(X[kept], y[kept])
    assert model.classes_.tolist() == [0, 2]
    assert model.predict_proba(X).shape == (90, 2)
    assert set(model.predict(X)) == {0, 2}
    assert (model.predict(X[kept]) == y[kept]).mean() > 0.9


@pytest.mark.slow
def test_seeded_fits_in_threads_are_alike(blobs):
    X, y = blobs
    alone = net().fit(X, y).predict_proba(X)
    fits = Parallel(n_jobs=3, backend="threading")(delayed(net().fit)(X, y) for _ in range(3))
    for model in fits:
        assert np.array_equal(model.predict_proba(X), alone)


def test_clone_takes_no_trained_weights_along(blobs):
    X, y = blobs
    model = net().fit(X, y)
    copy = clone(model)
    assert not hasattr(copy, "head_")
    assert np.array_equal(copy.fit(X, y).predict_proba(X), model.predict_proba(X))


def test_a_pickle_predicts_exactly_the_same(blobs):
    X, y = blobs
    model = net().fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    twice = pickle.loads(pickle.dumps(again))
    assert np.array_equal(twice.predict_proba(X), model.predict_proba(X))
    assert again.history_ == model.history_


# --- training as the issue asks for it -----------------------------------------------------------


def test_seeds_decide_and_differ(blobs):
    X, y = blobs
    one, same, other = (net(random_state=s).fit(X, y).predict_proba(X) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)


def test_the_softmax_head_is_the_chapters():
    tail = Tail(SoftmaxHead(), n_grades=5, n_features=32)
    model = build_tail(tail, Training(learning_rate=1e-4))
    described = [
        (type(layer).__name__, getattr(layer, "units", None) or getattr(layer, "rate", None))
        for layer in model.layers[1:]
    ]
    assert described == [
        ("Dense", 512),
        ("Dropout", 0.5),
        ("Dense", 512),
        ("Dropout", 0.5),
        ("Dense", 5),
    ]
    assert model.layers[1].activation.__name__ == "relu"
    assert model.layers[-1].activation.__name__ == "softmax"
    assert model.loss == "sparse_categorical_crossentropy"
    adam = model.optimizer
    assert isinstance(adam, keras.optimizers.Adam)
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.9, 0.999, 1e-8)
    assert float(adam.learning_rate.numpy()) == pytest.approx(1e-4)


def test_the_relu_head_regresses():
    model = build_tail(Tail(ReluHead(), 5, 32), Training(learning_rate=1e-4))
    assert model.output_shape == (None, 1)
    assert model.layers[-1].activation.__name__ == "relu"
    assert model.loss == "mean_squared_error"


@pytest.mark.slow
def test_relu_predictions_are_rounded_and_clipped(blobs):
    X, y = blobs
    head = ReluHead(units=16, layers=1, dropout=0.0)
    # enough rows are held out for it not to be trained thrice more
    model = net(head, epochs=30, validation_fraction=0.3).fit(X, y)
    severity = model.predict_severity(X)
    assert np.array_equal(model.predict(X), np.clip(np.rint(severity), 0, 2).astype(int))
    proba = model.predict_proba(X)
    assert np.array_equal(model.classes_[proba.argmax(axis=1)], model.predict(X))
    assert (proba > 0).all()
    # the expected grade of the probabilities is nearer to the middle than the severity
    away = np.abs(np.clip(severity, 0, 2) - 1)
    assert (np.abs(proba @ [0, 1, 2] - 1) <= away + 1e-12).all()


def epoch_of(batches, epoch):
    """What Keras gets in an epoch: rows and targets, in order."""
    batches.on_epoch_begin(epoch)
    parts = list(batches.data)
    assert [len(x) for x, *_ in parts] == [4, 2]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


@pytest.mark.parametrize("kind", [FeatureBatches, StreamedBatches])
def test_every_row_once_an_epoch_and_the_last_batch_too(monkeypatch, kind):
    monkeypatch.setattr(batches_module, "IN_MEMORY", 24 if kind is FeatureBatches else 23)
    source = ArraySource(np.arange(7, dtype=np.float32)[:, np.newaxis])
    rows = np.array([0, 1, 2, 3, 5, 6])
    batches = batches_of(TrainingRows(source, rows, rows * 10, rows / 2, batch_size=4, seed=3))
    assert type(batches) is kind
    assert len(batches.data) == 2
    # else the iterator of an epoch that is over can take seconds to close
    assert batches.data.options().autotune.enabled is False
    orders = []
    for epoch in (0, 1, 0):
        x, y, weights = epoch_of(batches, epoch)
        assert sorted(x[:, 0]) == rows.tolist()
        assert np.array_equal(x[:, 0] * 10, y)
        assert np.array_equal(x[:, 0] / 2, weights)
        orders.append(x[:, 0].tolist())
    assert orders[0] == orders[2] != orders[1]
    fixed = batches_of(TrainingRows(source, rows, rows, None, batch_size=4, seed=None))
    for epoch in (0, 1):
        assert epoch_of(fixed, epoch)[1].tolist() == rows.tolist()


@pytest.mark.slow
def test_features_in_memory_and_streamed_ones_train_alike(monkeypatch, blobs):
    X, y = blobs
    in_memory = net(SoftmaxHead(units=16), epochs=3).fit(X, y)
    monkeypatch.setattr(batches_module, "IN_MEMORY", 0)
    streamed = net(SoftmaxHead(units=16), epochs=3).fit(X, y)
    assert np.array_equal(in_memory.predict_proba(X), streamed.predict_proba(X))
    assert in_memory.history_ == streamed.history_


class Watch(keras.callbacks.Callback):
    """Counts epochs; Keras sets its model and parameters."""

    seen = 0

    def on_epoch_end(self, epoch, logs=None):
        type(self).seen += 1
        assert "val_loss" in logs


@pytest.mark.slow
def test_callbacks_log_and_checkpoint(blobs, tmp_path):
    X, y = blobs
    Watch.seen = 0
    watch = Watch()
    tensorboard = keras.callbacks.TensorBoard(tmp_path / "board")
    model = net(callbacks=[watch, tensorboard], log_dir=tmp_path / "logs")
    model.fit(X, y)
    first = model.log_dir_
    model.fit(X, y)
    assert Watch.seen == 6
    assert getattr(watch, "_model", None) is None, "a fit must use copies of the callbacks"
    assert model.log_dir_ != first, "a later fit must not overwrite an earlier one's log"
    for folder in (first, model.log_dir_):
        lines = (tmp_path / "logs" / os.path.basename(folder) / "log.csv").read_text().split()
        assert len(lines) == 4
        assert "val_loss" in lines[0]
        assert os.path.isfile(os.path.join(folder, "best.weights.h5"))
    assert any((tmp_path / "board").iterdir())


def test_early_stopping_brings_the_best_weights_back(blobs):
    X, y = blobs
    # labels are noise, so the held-out loss soon rises
    noise = np.random.default_rng(0).permutation(y)
    model = net(learning_rate=0.1, epochs=40, patience=2, validation_fraction=0.3).fit(X, noise)
    losses = model.history_["val_loss"]
    assert len(losses) < 40
    assert len(losses) - 1 - int(np.argmin(losses)) == 2


def test_the_learning_rate_falls_on_a_plateau(blobs):
    X, y = blobs
    noise = np.random.default_rng(0).permutation(y)
    plateau = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_lr=0.04)
    options = {"learning_rate": 0.1, "epochs": 12, "patience": None, "callbacks": plateau}
    model = net(**options).fit(X, noise)
    rates = model.history_["learning_rate"]
    assert rates[0] == pytest.approx(0.1)
    assert min(rates) == pytest.approx(0.04)
    assert len(rates) == 12


def test_learning_rate_auto(blobs):
    X, y = blobs
    rates = net(learning_rate="auto", epochs=1).fit(X, y).history_["learning_rate"]
    assert rates == [pytest.approx(1e-3)]


def test_without_validation_the_training_loss_is_watched(blobs):
    X, y = blobs
    model = net(validation_fraction=0.0).fit(X, y)
    assert "val_loss" not in model.history_


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("batch_size", True),
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("validation_fraction", 0.9),
        ("patience", 0),
        ("duplicates", "maybe"),
        ("augment", "yes"),
        ("head", 7),
        ("head", SoftmaxHead),
        ("class_weight", "even"),
    ],
)
def test_parameters_are_checked_in_fit(blobs, option, value):
    X, y = blobs
    model = net(**{"epochs": 1, option: value})
    with pytest.raises(InvalidParameterError, match=f"'{option}'.* must be"):
        model.fit(X, y)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_under_the_log_is_told_with_its_name():
    log = EpochLog("/dev/full")
    log.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
    log.on_train_begin()
    with pytest.raises(WriteError, match=r"'/dev/full' could not be written.*make room"):
        log.on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(WriteError, match="/dev/full"):
        log.on_train_end()
