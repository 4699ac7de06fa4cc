"""Networks that are traced once: whoever trains them, the results are those of a fresh one."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fundus import ReluHead, SoftmaxHead, TransferClassifier
from fundus.training import compiled
from fundus.training.adam import FusedAdam
from fundus.training.tail import Tail, Training, build_tail

HEAD = SoftmaxHead(units=8, layers=1, dropout=0.2)


@pytest.fixture(autouse=True)
def nothing_kept():
    compiled._kept.clear()
    yield
    compiled._kept.clear()


def net(head=HEAD, **options):
    # a regressor without images held out is trained thrice more; for others they are another graph
    held_out = 0.1 if isinstance(head, ReluHead) else 0.0
    defaults = {"epochs": 4, "learning_rate": 0.01, "random_state": 0}
    defaults["validation_fraction"] = held_out
    return TransferClassifier("precomputed", head, **(defaults | options))


def test_fused_adam_is_adam():
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(20, 3, 4)).astype("float32") for _ in range(2)]
    variables = [[keras.Variable(np.ones((3, 4), "float32")) for _ in range(2)] for _ in range(2)]
    for kind, own in zip((keras.optimizers.Adam, FusedAdam), variables, strict=True):
        optimizer = kind(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-6)
        for k in range(20):
            optimizer.apply([g[k] for g in gradients], own)
    for plain, fused in zip(*variables, strict=True):
        assert not np.allclose(plain.numpy(), 1)
        assert np.allclose(plain.numpy(), fused.numpy(), atol=1e-6)


@pytest.mark.slow
def test_a_kept_network_trains_as_a_fresh_one(blobs):
    X, y = blobs
    plateau = keras.callbacks.ReduceLROnPlateau(patience=1)
    options = {"callbacks": plateau, "patience": 2, "epochs": 6, "validation_fraction": 0.1}
    first = net(**options).fit(X, y)
    other = net(**options, random_state=1).fit(X[::-1], y[::-1])
    assert len(compiled._kept) == 1
    again = net(**options).fit(X, y)
    assert again.history_ == first.history_
    expected = first.predict_proba(X)
    assert np.array_equal(again.predict_proba(X), expected)
    assert not np.allclose(other.predict_proba(X), expected)
    assert np.array_equal(first.predict_proba(X), expected)  # whoever predicted in between


@pytest.mark.slow
def test_nothing_is_traced_twice(blobs):
    X, y = blobs
    net().fit(X, y).predict(X)
    (kept,) = compiled._kept.values()
    network = kept.network
    traced = network.train_function, network.predict_function
    net(random_state=1).fit(X[:80], y[:80]).predict(X[:7])
    assert (network.train_function, network.predict_function) == traced
    assert [kept.network for kept in compiled._kept.values()] == [network]


@pytest.mark.slow
def test_what_differs_in_its_graph_is_another_kind(blobs, monkeypatch):
    X, y = blobs
    heads = [HEAD, SoftmaxHead(units=9, layers=1), ReluHead(units=8, layers=1)]
    for head in heads:
        net(head).fit(X, y)
    assert len(compiled._kept) == 3
    monkeypatch.setattr(compiled, "SMALL", 0)  # as if they were large
    net(SoftmaxHead(units=7, layers=1)).fit(X, y)
    assert len(compiled._kept) == compiled.KEPT == 2
    compiled._kept.clear()
    for options in ({}, {"optimizer": keras.optimizers.Adam(beta_1=0.8), "learning_rate": "auto"}):
        net(**options).fit(X, y)
    assert len(compiled._kept) == 2


@pytest.mark.slow
def test_edited_code_is_another_kind(blobs, monkeypatch):
    X, y = blobs
    before = net().fit(X, y).history_["loss"]
    cross_entropy = keras.losses.sparse_categorical_crossentropy
    monkeypatch.setattr(
        SoftmaxHead, "loss", lambda self, n_grades: lambda y, p: 2 * cross_entropy(y, p)
    )
    after = net().fit(X, y).history_["loss"]
    assert before != after


@pytest.mark.slow
def test_the_users_network_is_his_own_and_plain(blobs):
    X, y = blobs
    model = net().fit(X, y)
    expected = model.predict_proba(X)
    own = model.model_
    assert type(own.optimizer) is keras.optimizers.Adam
    assert own.steps_per_execution == 1
    net(random_state=1).fit(X, y)
    assert np.allclose(own.predict(X.astype("float32"), verbose=0), expected, atol=1e-6)
    own.set_weights([weight * 0 for weight in own.get_weights()])
    assert np.allclose(model.predict_proba(X), 1 / 3)


def test_callbacks_see_every_step_and_keras_own_optimizer(blobs):
    X, y = blobs
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(type(self.model.optimizer))

    net(epochs=1, batch_size=10, validation_fraction=0.0, callbacks=[Watch()]).fit(X, y)
    assert seen == [keras.optimizers.Adam] * 9
    assert build_tail(Tail(HEAD, 3, 5), Training(1e-3)).steps_per_execution == 1
