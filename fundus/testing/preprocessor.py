"""`check_preprocessor`, and the checks that backbones share with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.frozen.normaliser import Normaliser, Photometric
from fundus.hookspecs import PreprocessorSpec
from fundus.plugins.registry import BUILTIN, Entry, get_registry
from fundus.testing.checks import (
    attempt,
    check_golden,
    check_saving,
    expect,
    registered,
    run_checks,
)
from fundus.testing.probes import in_aperture, probe_images
from fundus.testing.ranges import check_range
from fundus.transfer.classifier import TransferClassifier


def check_preprocessor(
    preprocessor: str | PreprocessorSpec,
    *,
    golden: ArrayLike | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Check that a preprocessor follows the contract.

    A scale must return finite float32 of the shape it was given, a photometric step uint8; it must
    treat each image on its own, not change its input, and repeat its results; its ``fit`` must
    read batches once, whatever their length, and return numbers that JSON can hold. The input of a
    network after a photometric step must be in the range of the network's own scale, for every
    backbone that is built in or comes with it. A `TransferClassifier` with it must allow saving and
    pickling. Where it has ``traced``, that must give what ``apply`` gives.

    Parameters
    ----------
    preprocessor : str or PreprocessorSpec
        A registered name, or a record.
    golden : array-like, shape (n, size, size, 3), default=None
        Its output for ``probe_images(n, size)``; one with ``fit`` is fitted on these first.
    tolerance : float, default=1e-4
        Tolerance of the golden values, relative to the largest of them (or to 1).

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how, and what to change.
    UnknownNameError
        If no preprocessor has the name.

    Examples
    --------
    >>> check_preprocessor("scale", golden=probe_images(2, 4) / 255)
    """
    with registered("preprocessor", PreprocessorSpec, preprocessor) as entry:
        run_checks(PreprocessorCase(entry, golden, tolerance), PREPROCESSOR_CHECKS)


@dataclass
class PreprocessorCase:
    """A preprocessor under test, with the parameters of `check_preprocessor`."""

    entry: Entry
    golden: ArrayLike | None = None
    tolerance: float = 1e-4

    @property
    def what(self) -> str:
        """Start of messages."""
        return f"The preprocessor {self.entry.spec.name!r}"

    @cached_property
    def state(self) -> dict[str, Any]:
        """Result of its ``fit`` on the probe images."""
        fit = self.entry.spec.fit
        return {} if fit is None else check_fit(fit, self.what)


def _check_fit(case: PreprocessorCase) -> None:
    _ = case.state


def _check_apply(case: PreprocessorCase) -> None:
    spec, what = case.entry.spec, case.what
    make = Photometric if spec.kind == "photometric" else Normaliser
    check_apply(make(spec.apply, tuple(case.state.items())), what)
    if spec.kind == "photometric":
        _check_range(case)
    if case.golden is not None:
        images = probes_of(case.golden, what)
        state = {} if spec.fit is None else plain_state(spec.fit(iter([images])))
        check_golden(spec.apply(images, **state), case.golden, case.tolerance, what)


def probes_of(golden: ArrayLike, what: str) -> NDArray[np.uint8]:
    """Return the probe images that golden values of preprocessing were made of."""
    shape = np.shape(golden)
    expect(len(shape) == 4, f"{what}: golden must have the shape (n, size, size, 3). Got {shape}.")
    return probe_images(shape[0], shape[1])


def check_apply(normaliser: Normaliser | Photometric, what: str) -> None:
    """Check a function from uint8 RGB images to float32, or to uint8 if it is photometric."""
    images = probe_images(6, 24)
    function, state = normaliser.function, dict(normaliser.state)
    expect(callable(function), f"{what} must be callable.")
    apply: Callable[[Any], Any] = lambda batch: function(batch, **state)  # type: ignore[operator] # noqa: E731
    kept = images.copy()
    with attempt(f"{what} on uint8 RGB images (n, height, width, 3)", "Fix that error."):
        output = apply(images)
    expect(
        np.array_equal(images, kept),
        f"{what} must leave its input as it is, but wrote into it: start with "
        "images.astype(np.float32), which copies.",
    )
    photometric = isinstance(normaliser, Photometric)
    _check_output(output, images, what, photometric)
    images.flags.writeable = False  # like arrays from the cache
    with attempt(f"{what} on a read-only array", "Copy the images before writing into them."):
        again = apply(images)
    expect(
        np.array_equal(output, again),
        f"{what} must return the same every time it is called, but did not: remove or fix what "
        "is random in it.",
    )
    allowed = 0.0 if photometric else 1e-5 * max(1.0, float(np.abs(output).max()))
    alone = np.concatenate([apply(images[k : k + 1]) for k in range(len(images))])
    together = np.concatenate([apply(images[:2]), apply(images[2:])])
    expect(
        alone.shape == output.shape
        and np.allclose(alone, output, atol=allowed)
        and np.allclose(together, output, atol=allowed),
        f"{what} must treat every image on its own, but an image's values change with what "
        "else is in the batch: take means and extremes over axes (1, 2), never over axis 0.",
    )


def _check_output(output: Any, images: NDArray[np.uint8], what: str, photometric: bool) -> None:
    expect(
        isinstance(output, np.ndarray) and output.shape == images.shape,
        f"{what} must return an ndarray of the shape it was given, {images.shape}. "
        f"Got {type(output).__name__} of shape {np.shape(output)}.",
    )
    if photometric:
        expect(
            output.dtype == np.uint8,
            f"{what} is of kind 'photometric' and must return uint8. Got {output.dtype}: round and "
            "clip, by np.clip(np.rint(values), 0, 255).astype(np.uint8), and leave the scale to "
            "the network; or register it with kind='scale'.",
        )
        return
    expect(
        output.dtype == np.float32,
        f"{what} must return float32. Got {output.dtype}: start with images.astype(np.float32) "
        "(uint8 wraps round), and keep constants float32.",
    )
    bad = ~np.isfinite(output)
    expect(
        not bad.any(),
        f"{what} must return finite values. Got {int(bad.sum())} that are nan or infinite: guard "
        "divisions for images of one colour.",
    )


def check_fit(fit: Callable[..., dict[str, Any]], what: str) -> dict[str, Any]:
    """Check the ``fit`` of a preprocessor; return the state it finds on the probe images."""
    images = probe_images(6, 24)
    what = f"{what}: fit(batches)"
    with attempt(what, "It gets an iterable of uint8 arrays that can be read once: no len()."):
        state = fit(iter([images[:4], images[4:]]))
        other = fit(iter([images[:1], images[1:]]))
    expect(
        isinstance(state, dict) and all(isinstance(name, str) for name in state),
        f"{what} must return a dict with str keys, the keyword arguments of apply. Got {state!r}.",
    )
    with attempt(what, "Return floats and lists of floats: value.tolist(), float(value)."):
        expect(
            json.loads(json.dumps(state))
            == {k: list(v) if isinstance(v, tuple) else v for k, v in state.items()},
            f"{what} must return what JSON can hold. Got {state!r}.",
        )
        plain, otherwise = plain_state(state), plain_state(other)
    expect(
        plain.keys() == otherwise.keys()
        and all(np.allclose(plain[name], otherwise[name], rtol=1e-5) for name in plain),
        f"{what} must not depend on how the images are batched. Got {state!r} from batches of 4 "
        f"and 2, and {other!r} from batches of 1 and 5: sum over images, and divide at the end.",
    )
    return plain


def plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state as `apply` gets it: floats, and tuples of floats."""
    return {
        name: tuple(float(v) for v in value) if np.ndim(value) else float(value)
        for name, value in sorted(state.items())
    }


def _check_in_classifier(case: PreprocessorCase) -> None:
    name, what = case.entry.qualified_name, case.what
    images, y = in_aperture(probe_images(11, 24)[3:]), np.arange(8) % 2
    parameter = "photometric" if case.entry.spec.kind == "photometric" else "normalise"
    # random weights, since a scale belongs to its own networks
    model = TransferClassifier("tiny", "logistic", weights=None, cache=False, random_state=0)
    model.set_params(**{parameter: name})
    with attempt(f"{what}: fitting a TransferClassifier with it", "Fix that error."):
        model.fit(images, y)
    check_saving(model, images, f"A TransferClassifier with the preprocessor {name!r}")


def _check_range(case: PreprocessorCase) -> None:
    own = case.entry.plugin
    # other plugins may have their own errors
    known = [e for e in get_registry().entries["backbone"] if e.plugin in (BUILTIN, own)]
    scales = [entry.spec.normalise for entry in known]
    for k, scale in enumerate(scales):
        if scale not in scales[:k]:
            check_range(scale, case.entry.qualified_name, case.what)


def _check_traced(case: PreprocessorCase) -> None:
    spec = case.entry.spec
    if spec.traced is None:
        return
    import keras

    images, what = probe_images(6, 24), f"{case.what}: traced(images)"
    expected = spec.apply(images, **case.state)
    with attempt(what, "It gets a uint8 tensor: cast it, and use keras.ops alone."):
        given = keras.Input(images.shape[1:], dtype="uint8")
        graph = keras.Model(given, spec.traced(given, **case.state))
        found = np.asarray(graph(images, training=False))
    allowed = 0.5 if spec.kind == "photometric" else 1e-4 * max(1.0, float(np.abs(expected).max()))
    away = np.abs(found.astype(np.float64) - expected).max()
    expect(
        found.shape == expected.shape and away <= allowed,
        f"{what} must give what apply gives. They differ by up to {away:.3g}: a photometric step "
        "rounds and clips to whole numbers, and nothing depends on the rest of the batch.",
    )


PREPROCESSOR_CHECKS: dict[str, Callable[[PreprocessorCase], None]] = {
    "fit": _check_fit,
    "apply": _check_apply,
    "traced": _check_traced,
    "in a classifier": _check_in_classifier,
}
