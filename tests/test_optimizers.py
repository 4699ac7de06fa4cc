"""``optimizer=``, ``loss=`` and ``callbacks=``: as Keras takes them, built anew for each fit."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import pickle
import re
import subprocess
import sys
import threading
import warnings

import keras
import numpy as np
import pytest
from keras.optimizers import SGD, Adam, AdamW, schedules
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

import fundus
from fundus import CornHead, FoldEnsemble, ReluHead, SoftLabelHead, SoftmaxHead, TransferClassifier
from fundus.exceptions import BundleError, FundusWarning, InvalidParameterError
from fundus.runtime.keras_objects import as_config, from_config
from fundus.training import compiled
from fundus.training.adam import FusedAdam
from fundus.transfer import parameters

HEAD = SoftmaxHead(units=8, layers=1, dropout=0.2)
SMALL = SoftmaxHead(units=8, layers=1, dropout=0.0)
#: All rows in one step, so that nothing but the optimizer decides.
PLAIN = {"validation_fraction": 0.0, "class_weight": None, "batch_size": 90, "epochs": 6}


@pytest.fixture
def nothing_kept():
    """No network that an earlier test has left; fits of a kind share one otherwise."""
    compiled._kept.clear()


def net(head=HEAD, **options):
    # enough images are held out for a regressor not to be trained thrice more; others need none,
    # whose loss is a graph of its own
    held_out = 0.3 if isinstance(head, ReluHead) else 0.0
    defaults = {"epochs": 3, "random_state": 0, "validation_fraction": held_out}
    return TransferClassifier("precomputed", head, **(defaults | options))


def fitted(blobs, **options):
    return net(**options).fit(*blobs).predict_proba(blobs[0])


@keras.saving.register_keras_serializable("tests")
class Halved(SGD):
    """Moves half as far as it was asked to."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient / 2, variable, learning_rate)


class Unregistered(SGD):
    """A class that Keras cannot find by its name."""


class Linear(schedules.LearningRateSchedule):
    """A schedule of the caller's own."""

    def __init__(self, start=0.1):
        self.start = start

    def __call__(self, step):
        return self.start / (1.0 + keras.ops.cast(step, "float32"))

    def get_config(self):
        return {"start": self.start}


OPTIMIZERS = {
    "sgd": lambda: "SGD",
    "dict": lambda: {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.9}},
    "momentum": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "schedule": lambda: SGD(
        schedules.CosineDecay(0.3, decay_steps=4, warmup_steps=2, warmup_target=0.5)
    ),
    "adam": lambda: Adam(0.01, beta_1=0.8, beta_2=0.99),
    "adam with a schedule": lambda: Adam(schedules.ExponentialDecay(0.05, 2, 0.5)),
    "weight decay": lambda: AdamW(0.01, weight_decay=0.5),
    "adam, decay and clipping": lambda: Adam(0.01, weight_decay=0.5, global_clipnorm=0.1),
    "amsgrad": lambda: Adam(0.01, amsgrad=True),
    "average": lambda: Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "accumulated": lambda: Adam(0.01, gradient_accumulation_steps=2),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(SGD(0.1)),
    "own": lambda: Halved(0.1),
    "own schedule": lambda: SGD(Linear(0.2)),
    "unregistered": lambda: Unregistered(0.1),
}  # fmt: skip


class Start(keras.callbacks.Callback):
    """Remembers the first weights."""

    weights: list = []  # noqa: RUF012 - the fits use copies

    def on_train_begin(self, logs=None):
        type(self).weights = self.model.get_weights()


@pytest.fixture(scope="module")
def start(blobs):
    """The first weights of every fit of `SMALL` with seed 0."""
    net(SMALL, callbacks=Start(), **PLAIN | {"epochs": 1}).fit(*blobs)
    return Start.weights


#: Steps that differ from another's in their arithmetic alone, which is Keras's; left to `make zoo`.
ALIKE = ("sgd", "momentum", "adam", "adam with a schedule", "weight decay", "amsgrad", "nadam")
ALIKE += ("average", "accumulated", "own schedule", "unregistered")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.zoo) if n in ALIKE else n for n in OPTIMIZERS]
)
def test_fits_are_those_of_keras_with_the_same_optimizer(blobs, start, nothing_kept, name):
    X, y = blobs
    optimizer = OPTIMIZERS[name]()
    found = fitted(blobs, head=SMALL, optimizer=optimizer, **PLAIN)
    dense = [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    network = keras.Sequential([keras.Input((12,)), *dense])
    network.set_weights(start)
    before = np.asarray(network(X))
    given = {"sgd": SGD(0.01), "dict": SGD(0.1, momentum=0.9)}
    expected = given.get(name) or OPTIMIZERS[name]()
    # without a graph, which takes longer to make than these few steps
    network.compile(expected, "sparse_categorical_crossentropy", run_eagerly=True)
    network.fit(X, y, batch_size=90, epochs=6, verbose=0)
    expected = np.asarray(network(X))
    assert np.abs(expected - before).max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=2e-5)
    if isinstance(optimizer, keras.optimizers.Optimizer):  # the caller's is as it was
        assert not optimizer.built
        assert int(optimizer.iterations.numpy()) == 0
    if name in ("own schedule", "unregistered"):  # like "own": each fit has a network of its own
        return
    # no fit knows of another
    net(SMALL, optimizer=optimizer, **PLAIN | {"random_state": 1}).fit(X[::-1], y[::-1])
    assert np.array_equal(fitted(blobs, head=SMALL, optimizer=optimizer, **PLAIN), found)


@pytest.mark.slow
def test_the_default_is_the_chapters_adam(blobs):
    X, y = blobs
    model = net(learning_rate=0.01).fit(X, y)
    adam = model.model_.optimizer
    assert type(adam) is Adam
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.9, 0.999, 1e-8)
    expected = model.predict_proba(X)
    for same in ("Adam", Adam(0.01, epsilon=1e-8)):
        rate = {"learning_rate": 0.01} if isinstance(same, str) else {}
        assert np.array_equal(fitted(blobs, optimizer=same, **rate), expected)
    # Keras's own epsilon is another, and so is the network that is kept
    assert not np.array_equal(fitted(blobs, optimizer=Adam(0.01)), expected)


@pytest.mark.slow
def test_one_kernel_steps_for_adam_wherever_it_can(blobs):
    def kind(optimizer):
        compiled._kept.clear()
        net(optimizer=optimizer, epochs=1, validation_fraction=0.0).fit(*blobs)
        (kept,) = compiled._kept.values()
        return type(kept.network.optimizer)

    for adam in ("adam", Adam(weight_decay=0.1, clipnorm=1.0), Adam(schedules.CosineDecay(0.1, 9))):
        assert kind(adam) is FusedAdam
    assert kind(Adam(amsgrad=True)) is Adam
    assert kind(AdamW()) is AdamW


@pytest.mark.slow
def test_what_is_not_keras_own_is_not_kept(blobs, nothing_kept):
    for options in (
        {"optimizer": Halved(0.1)},
        {"optimizer": SGD(Linear())},
        {"loss": lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p)},
    ):
        net(epochs=1, validation_fraction=0.0, **options).fit(*blobs)
        assert not compiled._kept


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adadelta", "SGD"])
def test_auto_is_keras_own_rate(blobs, name):
    (optimizer,) = (
        kind() for n, kind in vars(keras.optimizers).items() if n.lower() == name.lower()
    )
    model = net(optimizer=name, epochs=1, validation_fraction=0.0).fit(*blobs)
    assert model.history_["learning_rate"] == [
        pytest.approx(float(optimizer.learning_rate.numpy()))
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 1e-5), ("sgd", 1e-4)])
def test_auto_is_a_hundredth_where_the_backbone_is_trained(photographs, optimizer, rate):
    model = TransferClassifier(
        "tiny", HEAD, weights="fixed", freeze=4, epochs=1, optimizer=optimizer, cache=False,
        grades=5, random_state=0, image_size=32, validation_fraction=0.0,
    )  # fmt: skip
    model.fit(photographs.paths[:8], photographs.grades[:8])
    assert model.history_["learning_rate"] == [np.float32(rate)]


# --- copies, searches, threads and processes ------------------------------------------------------


def built_adam():
    optimizer = Adam(0.01, epsilon=1e-8)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", run_eagerly=True)
    model.train_on_batch(np.ones((4, 2)), np.ones((4, 1)))
    optimizer.learning_rate = 0.01
    return optimizer


@pytest.mark.slow
@pytest.mark.parametrize("make", [built_adam, OPTIMIZERS["schedule"], OPTIMIZERS["own"]])
def test_copies_fit_alike(blobs, make):
    model = net(optimizer=make(), epochs=2, validation_fraction=0.0)
    others = [clone(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    X, y = blobs
    expected = model.fit(X, y).predict_proba(X)
    for other in others:
        assert other.optimizer is not model.optimizer
        assert as_config(other.optimizer) == as_config(model.optimizer) or make is OPTIMIZERS["own"]
        assert np.array_equal(other.fit(X, y).predict_proba(X), expected)
    assert model.get_params()["optimizer"] is model.optimizer


@pytest.mark.slow
def test_a_class_that_keras_does_not_know_is_copied(blobs):
    class Local(SGD):
        """A class that Keras cannot find by its module either."""

    model = net(optimizer=Local(0.1, momentum=0.9), epochs=1, validation_fraction=0.0).fit(*blobs)
    copied = clone(model)
    assert type(copied.optimizer) is Local
    assert copied.optimizer is not model.optimizer
    expected = model.predict_proba(blobs[0])
    assert np.array_equal(copied.fit(*blobs).predict_proba(blobs[0]), expected)
    one, two = (FoldEnsemble(model, cv=2, n_jobs=n, random_state=0).fit(*blobs) for n in (1, 2))
    assert np.array_equal(one.oof_proba_, two.oof_proba_)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [pytest.param(1, marks=pytest.mark.zoo), 2])
def test_searches_over_optimizers_and_rates(blobs, n_jobs):
    X, y = blobs
    grid = [
        {"optimizer": [SGD(0.1, momentum=0.9), OPTIMIZERS["schedule"]()]},
        {"learning_rate": [1e-6]},
    ]
    model = net(epochs=2, validation_fraction=0.0)
    search = GridSearchCV(model, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    expected = [
        cross_val_score(clone(model).set_params(**params), X, y, cv=2).mean()
        for params in search.cv_results_["params"]
    ]
    assert scores.tolist() == expected
    assert min(scores) < max(scores)


@pytest.mark.slow
def test_folds_in_processes_fit_alike(blobs):
    model = net(
        epochs=2,
        optimizer=AdamW(0.05, weight_decay=0.1),
        loss=keras.losses.get("sparse_categorical_crossentropy"),
    )
    one, two = (
        FoldEnsemble(model, cv=2, n_jobs=n, random_state=0).fit(*blobs).oof_proba_ for n in (1, 2)
    )
    assert np.array_equal(one, two)


@pytest.mark.slow
def test_threads_fit_alike(blobs):
    # the first two share a network
    optimizers = [Adam(0.01, epsilon=1e-8), "adam", OPTIMIZERS["schedule"]()]
    expected = [fitted(blobs, optimizer=o) for o in optimizers]
    found = {}

    def run(k):
        found[k] = fitted(blobs, optimizer=optimizers[k])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[k], expected[k]) for k in range(3))


@pytest.mark.slow
def test_nothing_imports_keras_before_a_fit():
    code = (
        "import sys; from fundus import TransferClassifier as T; from sklearn.base import clone\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np, pickle\n"
        "m = clone(T('precomputed', 'logistic', beta_1=0.8, lr_patience=1, optimizer='adam'))\n"
        "pickle.loads(pickle.dumps(m)).set_params(epsilon=1e-7, loss='huber')\n"
        "m.fit(np.eye(6), [0, 1] * 3).predict(np.eye(6))\n"
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what cannot be used -------------------------------------------------------------------------

NO_OPTIMIZER = (
    "The 'optimizer' parameter of TransferClassifier must be the name of a Keras optimizer "
    "('adam', 'sgd', …), a Keras optimizer such as keras.optimizers.SGD(0.01, momentum=0.9), or "
    "{{'class_name': …, 'config': {{…}}}}. Got {!r} instead."
)


@pytest.mark.parametrize(
    "value",
    [
        "adamm", None, 3, SGD, "optimizer", "LossScaleOptimizer", "cosinedecay",
        {"class_name": "os.system"}, {"class_name": "Huber", "config": {}}, {"name": "SGD"},
    ],
)  # fmt: skip
def test_what_is_no_optimizer(blobs, value):
    with pytest.raises(InvalidParameterError) as caught:
        net(optimizer=value).fit(*blobs)
    assert str(caught.value) == NO_OPTIMIZER.format(value)


def test_options_that_an_optimizer_has_not(blobs):
    value = {"class_name": "sgd", "config": {"beta_1": 0.5}}
    with pytest.raises(
        InvalidParameterError, match="a configuration that Keras can build SGD from.*beta_1"
    ):
        net(optimizer=value).fit(*blobs)


def test_an_optimizer_that_cannot_be_built_again(blobs):
    class Forgetful(schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

    with pytest.raises(InvalidParameterError, match="its get_config can build again"):
        net(optimizer=SGD(Forgetful())).fit(*blobs)


@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1), OPTIMIZERS["schedule"](), {"class_name": "SGD", "config": {"learning_rate": 0.1}}],
)
def test_one_learning_rate(blobs, optimizer):
    with pytest.raises(InvalidParameterError) as caught:
        net(optimizer=optimizer, learning_rate=0.5).fit(*blobs)
    assert str(caught.value) == (
        "The 'learning_rate' parameter of TransferClassifier must be 'auto' where the optimizer "
        f"has its own rate (optimizer={optimizer!r}). Got 0.5 instead."
    )


# --- callbacks and the learning rate --------------------------------------------------------------


def noise(blobs):
    X, y = blobs
    return X, np.random.default_rng(0).permutation(y)


@pytest.mark.slow
def test_a_schedule_or_a_callback_takes_the_place_of_ours(blobs):
    X, y = noise(blobs)
    options = {"patience": None, "epochs": 8, "validation_fraction": 0.3}
    ours = net(optimizer=Adam(0.1), **options).fit(X, y)
    assert len(set(ours.history_["learning_rate"])) > 1  # it fell on a plateau
    scheduled = net(optimizer=Adam(schedules.CosineDecay(0.1, 99)), **options).fit(X, y)
    assert "learning_rate" not in scheduled.history_
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    model = net(optimizer=Adam(0.1), callbacks=scheduler, **options).fit(X, y)
    assert model.history_["learning_rate"] == pytest.approx([0.1 / k for k in range(1, 9)])
    again = net(optimizer=Adam(0.1), **options).fit(X, y)  # on the same kept network
    assert again.history_ == ours.history_


@pytest.mark.slow
def test_callbacks_that_set_no_rate_leave_ours(blobs):
    X, y = noise(blobs)
    options = {"patience": None, "epochs": 8, "optimizer": Adam(0.1), "validation_fraction": 0.3}
    kept = net(**options).fit(X, y).history_["learning_rate"]
    for callbacks in (Start(), (Start(), keras.callbacks.TerminateOnNaN())):
        found = net(callbacks=callbacks, **options).fit(X, y).history_["learning_rate"]
        assert len(set(found)) > 1
        assert found[0] == kept[0]


@pytest.mark.parametrize("value", [3, "EarlyStopping", [None], keras.callbacks.EarlyStopping])
def test_what_is_no_callback(blobs, value):
    with pytest.raises(InvalidParameterError) as caught:
        net(callbacks=value).fit(*blobs)
    assert str(caught.value) == (
        "The 'callbacks' parameter of TransferClassifier must be None, a Keras callback "
        f"(keras.callbacks.Callback) or a sequence of them. Got {value!r} instead."
    )


def test_a_schedule_and_a_callback_that_sets_the_rate(blobs):
    plateau = keras.callbacks.ReduceLROnPlateau()
    with pytest.raises(InvalidParameterError, match="'callbacks'.*as the optimizer has a schedule"):
        net(optimizer=OPTIMIZERS["schedule"](), callbacks=[plateau]).fit(*blobs)


# --- the loss -------------------------------------------------------------------------------------


def squared(y, p):
    return keras.ops.mean(keras.ops.square(keras.ops.reshape(y, (-1, 1)) - p), axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "own", "same", "other"),
    [
        (
            ReluHead(units=8, layers=1),
            "mean_squared_error",
            [keras.losses.mean_squared_error, {"class_name": "MeanSquaredError"}],
            [squared, keras.losses.Huber(delta=0.1), keras.losses.Huber(delta=3.0)],
        ),
        (
            HEAD,
            "sparse_categorical_crossentropy",
            [keras.losses.SparseCategoricalCrossentropy()],
            [keras.losses.CategoricalGeneralizedCrossEntropy(q=0.3)],
        ),
        (
            CornHead(units=8, layers=1),
            None,
            [],
            [keras.losses.BinaryCrossentropy(from_logits=True)],
        ),
        (
            SoftLabelHead(units=8, layers=1),
            "categorical_crossentropy",
            [],
            ["kl_divergence", keras.losses.CategoricalFocalCrossentropy(gamma=3.0)],
        ),
    ],
)  # fmt: skip
def test_losses(blobs, head, own, same, other):
    X, y = blobs
    plain = net(head, epochs=2).fit(X, y).history_
    for loss in ([] if own is None else [own]) + same:
        history = net(head, loss=loss, epochs=2).fit(X, y).history_
        assert history["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    found = set()
    for loss in other:
        model = net(head, loss=loss, epochs=2).fit(X, y)
        assert model.history_["loss"] != pytest.approx(plain["loss"], rel=1e-3) or loss is squared
        assert np.isfinite(model.predict_proba(X)).all()
        found.add(tuple(model.history_["loss"]))
    assert len(found) == len(other)


def test_copies_keep_all_of_a_loss(tmp_path, blobs):
    # Keras's own do not
    X, y = blobs
    assert copy.deepcopy(keras.losses.Huber(0.1)).get_config() == keras.losses.Huber(9).get_config()
    model = net(ReluHead(units=8, layers=1), loss=keras.losses.Huber(0.1), epochs=1).fit(X, y)
    model.save(tmp_path / "model")
    for copied in (
        clone(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        fundus.load(tmp_path / "model"),
    ):
        assert copied.loss["class_name"] == "Huber"
        assert copied.loss["config"]["delta"] == 0.1
    assert copied.fit(X, y).history_ == model.history_


NO_LOSS = (
    "The 'loss' parameter of TransferClassifier must be None, the name of a Keras loss, a "
    "keras.losses.Loss, {{'class_name': …, 'config': {{…}}}} or a function of targets and outputs. "
    "Got {!r} instead."
)


@pytest.mark.parametrize(
    "value",
    ["hubber", 7, keras.losses.Huber, {"class_name": "SGD", "config": {}}, {"class_name": "x"}],
)
def test_what_is_no_loss(blobs, value):
    with pytest.raises(InvalidParameterError) as caught:
        net(loss=value).fit(*blobs)
    assert str(caught.value) == NO_LOSS.format(value)


def one_number(y, p):
    return keras.ops.sum(p) * float("nan")


@pytest.mark.parametrize(
    ("head", "loss", "why"),
    [
        (HEAD, "mean_squared_error", "different shapes"),
        (HEAD, keras.losses.CategoricalCrossentropy(), "different shapes"),
        (CornHead(units=8), "sparse_categorical_crossentropy", "different shapes"),
        (ReluHead(units=8), "sparse_categorical_crossentropy", "different shapes"),
        (HEAD, lambda y, p: y - p, ""),
        (HEAD, lambda y: 0.0, "takes 1 positional argument"),
        (HEAD, one_number, "finite numbers"),
    ],
)
def test_losses_that_a_head_has_no_targets_for(blobs, head, loss, why):
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 - it must not move
    with pytest.raises(
        InvalidParameterError, match=r"'loss' parameter.*a loss of the targets"
    ) as e:
        net(head, loss=loss).fit(*blobs)
    assert why in str(e.value)
    assert "float32 of shape (n, " in str(e.value)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


# --- bundles --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dict", "schedule", "scaled"])
def test_bundles_hold_keras_own_as_configuration(tmp_path, blobs, name):
    X, y = blobs
    model = net(
        optimizer=OPTIMIZERS[name](), loss=keras.losses.SparseCategoricalCrossentropy(),
        epochs=2, validation_fraction=0.0,
    )  # fmt: skip
    model.fit(X, y).save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.optimizer == as_config(model.optimizer)
    assert np.array_equal(loaded.fit(X, y).predict_proba(X), model.predict_proba(X))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"optimizer": Halved(0.1)}, "optimizer"),
        ({"optimizer": SGD(Linear())}, "optimizer"),
        ({"loss": squared, "head": ReluHead(units=8)}, "loss"),
    ],
)
def test_bundles_refuse_what_is_not_keras_own(tmp_path, blobs, options, name):
    model = net(epochs=1, **options).fit(*blobs)
    with pytest.raises(BundleError, match=f"The parameter '{name}' holds .* without code"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_bundle_cannot_name_another_class(tmp_path, blobs):
    X, y = blobs
    net(optimizer=SGD(0.1), epochs=1).fit(X, y).save(tmp_path / "model")
    file, manifest = (tmp_path / "model" / name for name in ("model.json", "manifest.json"))
    before = file.read_bytes()
    after = before.replace(b'"SGD"', b'"tests>Halved"')
    assert after != before
    file.write_bytes(after)
    digests = [hashlib.sha256(content).hexdigest() for content in (before, after)]
    manifest.write_text(manifest.read_text().replace(*digests))
    with pytest.raises(InvalidParameterError, match="'optimizer'.*tests>Halved"):
        fundus.load(tmp_path / "model").fit(X, y)


def test_configurations_are_of_keras_own_only():
    assert as_config(Halved(0.1)) is not None
    with pytest.raises(ValueError, match="no optimizers named 'Halved'"):
        from_config({"class_name": "Halved", "config": {}}, "optimizers")
    with pytest.raises(ValueError, match="no optimizers named 'Optimizer'"):
        from_config({"class_name": "Optimizer", "config": {}}, "optimizers")
    nested = {"class_name": "SGD", "config": {"learning_rate": {"class_name": "Linear"}}}
    with pytest.raises(ValueError, match="no schedules or optimizers named 'Linear'"):
        from_config(nested, "optimizers")


@pytest.mark.parametrize("kind", ["losses", "schedules"])
def test_configurations_lose_nothing(kind):
    odd = {
        "from_logits": True, "label_smoothing": 0.2, "axis": 0, "alpha": 0.7, "gamma": 3.0,
        "delta": 0.1, "q": 0.9, "beta": 0.9, "ignore_class": 1, "margin": 0.1, "reduction": "sum",
        "initial_learning_rate": 0.1, "decay_steps": 7, "first_decay_steps": 5, "power": 2.0,
        "boundaries": [3, 5], "values": [0.1, 0.2, 0.3], "decay_rate": 0.5, "t_mul": 3.0,
    }  # fmt: skip
    module, base = {
        "losses": (keras.losses, keras.losses.Loss),
        "schedules": (schedules, schedules.LearningRateSchedule),
    }[kind]
    n = 0
    for made in vars(module).values():
        if not isinstance(made, type) or not issubclass(made, base) or made is base:
            continue
        names = inspect.signature(made.__init__).parameters
        value = made(**{k: v for k, v in odd.items() if k in names})
        again = from_config(json.loads(json.dumps(as_config(value))), kind)
        for attributes in (vars(value), vars(again)):
            attributes.pop("_dtype_policy", None)
        assert vars(again) == vars(value)
        n += 1
    assert n > 5


# --- former names ---------------------------------------------------------------------------------

FORMER = {"beta_1": 0.8, "lr_factor": 0.3, "lr_patience": 1}


def former(**options):
    with pytest.warns(FutureWarning, match="next minor release refuses the former names"):
        return net(**options)


@pytest.mark.slow
def test_former_names_mean_what_they_meant(blobs):
    X, y = noise(blobs)
    options = {"epochs": 8, "patience": None, "validation_fraction": 0.3}
    old = former(learning_rate=0.1, **FORMER, **options).fit(X, y)
    plateau = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=1, min_lr=1e-6)
    adam = Adam(0.1, beta_1=0.8, beta_2=0.999, epsilon=1e-8)
    new = net(optimizer=adam, callbacks=[plateau], **options).fit(X, y)
    assert old.history_ == new.history_
    assert len(set(old.history_["learning_rate"])) > 2
    assert np.array_equal(old.predict_proba(X), new.predict_proba(X))
    assert clone(old).fit(X, y).history_ == old.history_
    with pytest.warns(FutureWarning):
        step = net(learning_rate=0.1, beta_1=0.8, **options).set_params(lr_factor=0.3)
    with pytest.warns(FutureWarning):
        step.set_params(lr_patience=1)
    assert step.fit(X, y).history_ == old.history_


def test_what_to_write_instead():
    with pytest.warns(FutureWarning) as caught:
        net(beta_1=0.8, lr_patience=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert str(caught[0].message) == (
        "beta_1, lr_patience of TransferClassifier: write optimizer=keras.optimizers.Adam("
        "learning_rate, beta_1=0.8, beta_2=0.999, epsilon=1e-08) and callbacks=[keras.callbacks."
        "ReduceLROnPlateau(factor=0.5, patience=1, min_lr=1e-06)] instead. The next minor release "
        "refuses the former names."
    )
    same = former(beta_1=0.9, lr_factor=0.5)  # the defaults
    assert (same.optimizer, same.callbacks) == ("adam", None)


@pytest.mark.slow
def test_former_names_are_searched(blobs):
    X, y = blobs
    model, grid = net(epochs=1), {"beta_1": [0.5, 0.9], "lr_patience": [2]}
    with pytest.warns(FutureWarning):
        search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert search.best_params_.keys() == {"beta_1", "lr_patience"}
    ensemble = FoldEnsemble(net(), cv=2)
    with pytest.warns(FutureWarning):
        ensemble.set_params(estimator__epsilon=1e-3)
    assert ensemble.estimator.optimizer["config"]["epsilon"] == 1e-3


@pytest.mark.parametrize("name", ["optimizer", "callbacks"])
def test_not_both(blobs, name):
    if name == "optimizer":
        with pytest.raises(InvalidParameterError, match="'optimizer'.*left out where its former"):
            net(optimizer=SGD(0.1), beta_1=0.8)
        with pytest.raises(InvalidParameterError, match="'optimizer'.*left out where its former"):
            net().set_params(optimizer="sgd", beta_1=0.8)
    else:
        model = former(callbacks=[keras.callbacks.ReduceLROnPlateau()], lr_factor=0.3)
        with pytest.raises(InvalidParameterError, match="'callbacks'.*former parameters"):
            model.fit(*blobs)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("beta_1", 1.0, "a number in [0, 1)"),
        ("epsilon", 0, "a number in (0, inf)"),
        ("lr_factor", 1.0, "a number in (0, 1)"),
        ("lr_patience", 0, "an int of at least 1"),
    ],
)
def test_former_names_are_checked(name, value, expected):
    message = (
        f"The '{name}' parameter of TransferClassifier must be {expected}. Got {value!r} instead."
    )
    with pytest.raises(InvalidParameterError, match=re.escape(message)):
        net(**{name: value})


def test_no_other_names():
    with pytest.raises(TypeError, match="unexpected keyword argument 'learning_rat'"):
        net(learning_rat=0.1)
    with pytest.raises(ValueError, match="Invalid parameter 'learning_rat'"):
        net().set_params(learning_rat=0.1)


# --- what a head ignores --------------------------------------------------------------------------


@pytest.mark.slow
def test_ignored_parameters_are_told_once(blobs, monkeypatch):
    monkeypatch.setattr(parameters, "_told", set())
    options = {"epochs": 7, "optimizer": "sgd", "callbacks": [Start()]}
    model = TransferClassifier("precomputed", "logistic", **options)
    search = GridSearchCV(model, {"class_weight": [None, "balanced"]}, cv=2)
    with pytest.warns(FundusWarning) as caught:
        search.fit(*blobs)
    assert [str(w.message) for w in caught] == [
        "The head 'logistic' is fitted by scikit-learn and ignores optimizer, epochs, callbacks: "
        "leave out parameters of neural heads."
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FundusWarning)
        TransferClassifier("precomputed", "logistic", callbacks=[], class_weight=None).fit(*blobs)
        net(epochs=2, optimizer="sgd").fit(*blobs)
