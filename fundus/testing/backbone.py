"""`check_backbone`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from fundus.backbones.build import build_backbone, weights_digest
from fundus.backbones.pooling import pooled
from fundus.backbones.splitting import one_or_list, split
from fundus.backbones.stages import stage_outputs
from fundus.frozen.normaliser import Normaliser, fit_normaliser
from fundus.heads.neural import SoftmaxHead
from fundus.hookspecs import BackboneSpec
from fundus.plugins.registry import BUILTIN, Entry, get_registry
from fundus.testing.checks import (
    attempt,
    check_golden,
    check_predictions,
    check_saving,
    expect,
    registered,
    run_checks,
)
from fundus.testing.preprocessor import check_apply, probes_of
from fundus.testing.probes import in_aperture, probe_images
from fundus.testing.ranges import check_range
from fundus.testing.weights_files import check_weights_files
from fundus.transfer.classifier import TransferClassifier

if TYPE_CHECKING:
    import keras

WeightsArgument = str | os.PathLike[str] | None


def check_backbone(
    backbone: str | BackboneSpec,
    *,
    weights: WeightsArgument = None,
    image_size: int | None = None,
    golden: ArrayLike | None = None,
    golden_features: ArrayLike | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Check that a backbone follows the contract.

    Preprocessing must return finite float32, treat images separately, and keep its range after
    every photometric step that is built in or comes with it. The network must match its record,
    repeat outputs and seeded weights, load weights it saved, not change when it is cut or its
    stages are read, train only what is not frozen, and work in a saved, pickled classifier.

    Parameters
    ----------
    backbone : str or BackboneSpec
        A registered name, or a record.
    weights : str, path or None, default=None
        Weights to check it with; ``None`` is random ones.
    image_size : int, default=None
        Edge of the input, in pixels; ``None`` is the backbone's own. A small one is quicker.
    golden : array-like of float, shape (n, size, size, 3), default=None
        Output of its preprocessing for ``probe_images(n, size)``, whatever `image_size`.
    golden_features : array-like of float, shape (n, m), default=None
        The first `m` average-pooled features of ``probe_images(n, image_size)``, for `weights`.
    tolerance : float, default=1e-4
        Tolerance of the golden values, relative to the largest of them (or to 1).

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how, and what to change.
    UnknownNameError
        If no backbone has the name.
    WeightsNotAvailableError
        If the pretrained weights are not available.

    Examples
    --------
    >>> check_backbone("tiny", weights="fixed")
    """
    with registered("backbone", BackboneSpec, backbone) as entry:
        case = BackboneCase(entry, weights, image_size, golden, golden_features, tolerance)
        run_checks(case, BACKBONE_CHECKS)


@dataclass
class BackboneCase:
    """A backbone under test, with the parameters of `check_backbone`.

    Values that several checks need are made at their first use.
    """

    entry: Entry
    weights: WeightsArgument = None
    image_size: int | None = None
    golden: ArrayLike | None = None
    golden_features: ArrayLike | None = None
    tolerance: float = 1e-4

    @property
    def spec(self) -> BackboneSpec:
        """The backbone's record."""
        return self.entry.spec

    @property
    def what(self) -> str:
        """How messages begin."""
        return f"The backbone {self.spec.name!r}"

    @property
    def size(self) -> int:
        """Edge of the input, in pixels."""
        return self.spec.image_size if self.image_size is None else self.image_size

    @cached_property
    def normaliser(self) -> Normaliser:
        """Its own preprocessing, fitted if needed."""
        advice = "Give the name of a registered preprocessor (as 'plugin/name' if others share it)."
        with attempt(f"{self.what}: its preprocessing {self.spec.normalise!r}", advice):
            return fit_normaliser(self.spec.normalise, lambda: iter([probe_images(4, 24)]))

    @cached_property
    def model(self) -> keras.Model:
        """The network."""
        return self.build(seed=0)

    def build(self, *, seed: int) -> keras.Model:
        """Build the network again."""
        call = f"build(image_size={self.size}, weights={self.weights!r})"
        with attempt(f"{self.what}: {call}", "Fix that error."):
            return build_backbone(self.spec, image_size=self.size, weights=self.weights, seed=seed)

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """Four images as input of the network."""
        return self.normaliser.apply(probe_images(4, self.size))

    @cached_property
    def output(self) -> NDArray[Any]:
        """Output of the network for these images."""
        return _run(self.model, self.x)[0]


def _check_preprocessing(case: BackboneCase) -> None:
    normaliser = case.normaliser
    what = f"{case.what}: its preprocessing"
    check_apply(Normaliser(normaliser.call, normaliser.state), what)
    if case.golden is not None:
        values = normaliser.apply(probes_of(case.golden, what))
        check_golden(values, case.golden, case.tolerance, what)


def _check_photometric(case: BackboneCase) -> None:
    for entry in get_registry().entries["preprocessor"]:
        # other plugins may have their own errors
        if entry.spec.kind == "photometric" and entry.plugin in (BUILTIN, case.entry.plugin):
            check_range(case.spec.normalise, entry.qualified_name, case.what)


def _check_weights_path(case: BackboneCase) -> None:
    spec, what = case.spec, case.what
    for name in spec.pretrained if spec.weights_path is not None else ():
        assert spec.weights_path is not None
        with attempt(f"{what}: weights_path({name!r})", "Return a Path or None; never raise."):
            path = spec.weights_path(name)
        expect(
            path is None or (isinstance(path, Path) and path.is_file()),
            f"{what}: weights_path({name!r}) must return None or the Path of a file that exists. "
            f"Got {path!r}.",
        )


def _check_initial_weights(case: BackboneCase) -> None:
    # pretrained weights must be the same whatever the seed
    again = case.build(seed=0 if case.weights is None else 1)
    same = weights_digest(case.model) == weights_digest(again)
    expect(
        same or case.weights is not None,
        f"{case.what}: two builds with one seed must have the same weights; use Keras's "
        "initialisers without a seed of their own, or draw from numpy's global generator.",
    )
    expect(
        same,
        f"{case.what}: weights={case.weights!r} must set every weight, but some stay random: "
        "compare the layers that load with model.layers.",
    )


def _check_parameters(case: BackboneCase) -> None:
    spec, counted = case.spec, case.model.count_params()
    if counted != spec.parameters and case.size != spec.image_size:
        # position embeddings, for example, grow with the image
        counted = build_backbone(spec, weights=None, seed=0).count_params()
    expect(
        counted == spec.parameters,
        f"{case.what}: 'parameters' must be the number of weights without a top, {counted}. "
        f"Got {spec.parameters}.",
    )


def _check_smallest(case: BackboneCase) -> None:
    smallest = case.spec.min_image_size
    if smallest == case.size:
        return
    what = f"{case.what}: at its 'min_image_size' of {smallest} pixels"
    with attempt(what, "Raise it."):
        model = build_backbone(case.spec, image_size=smallest, weights=None, seed=0)
        output = np.asarray(model(np.zeros((1, smallest, smallest, 3), np.float32)))
    expect(
        output.size > 0 and np.isfinite(output).all(),
        f"{what} the output is empty or not finite: raise it.",
    )


def _run(model: keras.Model, x: Any) -> list[NDArray[Any]]:
    outputs = model(x, training=False)
    return [np.asarray(t) for t in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def _close(got: NDArray[Any], wanted: NDArray[Any], relative: float = 1e-5) -> bool:
    allowed = relative * max(float(np.abs(wanted).max()), 1e-6)
    return got.shape == wanted.shape and bool(np.abs(got - wanted).max() <= allowed)


def _check_inference(case: BackboneCase) -> None:
    model, x, output, what = case.model, case.x, case.output, case.what
    expect(
        output.dtype == np.float32 and np.isfinite(output).all(),
        f"{what}: the output must be finite float32. Got {output.dtype} with "
        f"{int((~np.isfinite(output)).sum())} values that are not finite.",
    )
    expect(
        np.array_equal(output, _run(model, x)[0]),
        f"{what}: inference must repeat itself; draw random numbers only where 'training' is true.",
    )
    alone = np.concatenate([_run(model, x[k : k + 1])[0] for k in range(len(x))])
    expect(
        _close(alone, output, 1e-4),
        f"{what}: inference must treat every image on its own, but an image's output changes with "
        "the batch; take no mean, deviation or softmax over axis 0.",
    )
    spread = np.abs(output - output[:1]).max()
    expect(
        spread > 0,
        f"{what}: different images must give different outputs, but all {len(x)} probes give one.",
    )
    if case.golden_features is None:
        return
    n, m = np.shape(case.golden_features)
    images = case.normaliser.apply(probe_images(n, case.size))
    features = np.asarray(pooled(model, "avg")(images, training=False))[:, :m]
    check_golden(features, case.golden_features, case.tolerance, f"{what}: its pooled features")


def _check_weights_file(case: BackboneCase) -> None:
    what = case.what
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.weights.h5"
        advice = "Every layer must keep its weights as Keras layers do (add_weight, sublayers)."
        with attempt(f"{what}: saving its weights and building with them", advice):
            case.model.save_weights(path)
            loaded = build_backbone(case.spec, image_size=case.size, weights=path, seed=1)
    expect(
        np.array_equal(_run(loaded, case.x)[0], case.output),
        f"{what}: a build with weights=<file of its own weights> must give the same outputs; "
        "build the same network whatever 'weights' is.",
    )


def _check_cuts(case: BackboneCase) -> None:
    model, x, output, what = case.model, case.x, case.output, case.what
    n = len(model.layers)
    expect(
        n >= 3,
        f"{what} must have layers to cut between, but model.layers has {n}: call the layers in "
        "build itself, rather than a nested model.",
    )
    for freeze in np.unique(np.linspace(1, n, 8).round().astype(int)).tolist():
        place = f"{what}: cut after {freeze} of {n} layers ({model.layers[freeze - 1].name!r})"
        with attempt(place, "Use Keras layers and keras.ops on Keras tensors only."):
            parts = split(model, freeze)
            tensors: list[Any] = [x] if parts.prefix is None else _run(parts.prefix, x)
            if parts.suffix is not None:
                tensors = _run(parts.suffix, one_or_list(tensors))
        expect(
            _close(tensors[0], output),
            f"{place}, the two parts must give what the whole gives. They differ by up to "
            f"{np.abs(tensors[0] - output).max():.3g}: a layer keeps state between calls, or "
            "depends on Python values that its call does not record.",
        )


def _check_stages(case: BackboneCase) -> None:
    import keras

    model = case.model
    with attempt(f"{case.what}: finding its stages for pooling='multilevel'", "Fix that error."):
        inputs, maps = stage_outputs(model)
        values = _run(keras.Model(one_or_list(inputs), maps), case.x)
    expect(
        _close(values[-1], case.output) and all(np.isfinite(value).all() for value in values),
        f"{case.what}: the maps of its stages must be finite and the last one its output; nested "
        "models must be plain functional ones, without a 'call' of their own.",
    )


def _check_training(case: BackboneCase) -> None:
    import keras

    # a separate network, since the step changes the weights
    model, what = case.build(seed=0), case.what
    x: Any = case.x
    n = len(model.layers)
    trained = [k for k, layer in enumerate(model.layers) if layer.weights]
    expect(trained, f"{what} has no weights, so there is nothing to train.")
    cut = max(1, min(n // 2, trained[-1]))
    parts = split(model, cut)
    assert parts.suffix is not None
    inputs = x if parts.prefix is None else one_or_list(_run(parts.prefix, x))
    before = {id(w): w.numpy() for w in model.weights}
    body = pooled(parts.suffix, "avg")
    outputs = keras.layers.Dense(2)(body.outputs[0])
    net = keras.Model(body.inputs, outputs)
    net.compile(optimizer=keras.optimizers.SGD(0.1), loss="mean_squared_error")
    targets = np.arange(2 * len(x), dtype=np.float32).reshape(-1, 2)
    place = f"{what}: one training step with {cut} of {n} layers frozen"
    with attempt(place, "Every operation after the cut must have a gradient."):
        net.train_on_batch(inputs, targets)
    frozen = {id(w) for layer in model.layers[:cut] for w in layer.weights}
    moved = [w for w in model.weights if not np.array_equal(w.numpy(), before[id(w)])]
    wrong = [w.path for w in moved if id(w) in frozen]
    expect(
        not wrong,
        f"{place} must leave the frozen weights as they are, but changes {wrong}: a layer must "
        "obey its own 'trainable', and update its statistics only where training is true.",
    )
    expect(
        moved,
        f"{place} must change weights after the cut, but changes none: check that "
        "no layer of build is trainable=False for good and that gradients reach them.",
    )


def _check_in_classifier(case: BackboneCase) -> None:
    entry, size, weights = case.entry, case.size, case.weights
    freeze = 4 * len(case.model.layers) // 5
    images, y = in_aperture(probe_images(9, size)[3:]), np.arange(6) % 3
    training: dict[str, Any] = {"epochs": 1, "batch_size": 6, "validation_fraction": 0.0}
    for frozen, head in (("all", "logistic"), (freeze, SoftmaxHead(units=4, layers=1))):
        options = {} if frozen == "all" else training  # which `logistic` would ignore
        what = f"A TransferClassifier with the backbone {entry.spec.name!r} and freeze={frozen!r}"
        model = TransferClassifier(
            entry.qualified_name, head, weights=weights, image_size=size, freeze=frozen,
            cache=False, random_state=0, **options,
        )  # fmt: skip
        with attempt(f"{what}: fitting it", "Fix that error."):
            fitted = clone(model).fit(images, y)
            # the key of cached activations must not depend on code without a stable name
            fitted.frozen_.key()
        check_predictions(fitted, images, what)
    # the model with trained layers holds everything that the other one does
    check_saving(fitted, images, what)


BACKBONE_CHECKS: dict[str, Callable[[BackboneCase], None]] = {
    "preprocessing": _check_preprocessing,
    "photometric steps": _check_photometric,
    "weights path": _check_weights_path,
    "files of weights": check_weights_files,
    "initial weights": _check_initial_weights,
    "parameters": _check_parameters,
    "smallest image": _check_smallest,
    "inference": _check_inference,
    "weights file": _check_weights_file,
    "cuts": _check_cuts,
    "stages": _check_stages,
    "training": _check_training,
    "in a classifier": _check_in_classifier,
}
