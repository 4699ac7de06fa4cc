"""What is asked of a stress report: kinds and strengths, and images with grades, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from fundus.data.inputs import Images, as_images, is_image_data, refuse_single
from fundus.exceptions import DataError
from fundus.grades.foreign import as_grader, unwrapped
from fundus.grades.grader import Grader
from fundus.grades.labels import to_positions
from fundus.grades.patients import known_patients, read_patients
from fundus.images.augment import Augmentation
from fundus.images.degradations import degradations
from fundus.meta.ensemble import FoldEnsemble
from fundus.parameters import invalid
from fundus.reporting.stress_scores import Predicted, score_stress
from fundus.reporting.stressed import Change, StressReport


@dataclass(frozen=True)
class StressAsked:
    """Kinds of change and settings, checked before any image is read.

    Parameters
    ----------
    owner : str
        Name of the function, for messages.
    changes : tuple of Change
        Kinds and strengths.
    ways : tuple of Augmentation
        What makes each of them.
    referable : int or None
    random_state, n_resamples : int
    """

    owner: str
    changes: tuple[Change, ...]
    ways: tuple[Augmentation, ...]
    referable: int | None
    random_state: int
    n_resamples: int

    @classmethod
    def of(
        cls,
        owner: str,
        kinds: Iterable[str] | None,
        strengths: Iterable[int],
        referable: int | None,
        random_state: int,
        n_resamples: int,
    ) -> Self:
        """Check what is asked for.

        Raises
        ------
        InvalidParameterError
            If a kind, a strength, a seed or a number of resamples cannot be used.
        """
        known = degradations()
        chosen = list(known) if kinds is None else _listed(kinds)
        if not chosen or not all(kind in known for kind in chosen):
            expected = f"None, or names out of {', '.join(map(repr, known))}"
            raise invalid(owner, "kinds", expected, kinds if kinds is None else chosen)
        steps = _listed(strengths)
        if not steps or not all(_is_int(step) and step in (1, 2, 3) for step in steps):
            raise invalid(owner, "strengths", "numbers out of 1, 2 and 3", steps)
        for name, value, low in (
            ("random_state", random_state, 0),
            ("n_resamples", n_resamples, 1),
        ):
            if not _is_int(value) or value < low:
                raise invalid(owner, name, f"an int of at least {low}", value)
        changes = tuple(product(dict.fromkeys(chosen), sorted(set(map(int, steps)))))
        ways = tuple(known[kind](strength) for kind, strength in changes)
        return cls(owner, changes, ways, referable, int(random_state), int(n_resamples))

    def report(
        self,
        true: NDArray[np.intp],
        unchanged: Predicted,
        found: Mapping[Change, Predicted],
        grader: Grader,
        groups: NDArray[Any] | None,
        *,
        out_of_fold: bool = False,
    ) -> StressReport:
        """Score what was predicted."""
        return score_stress(
            true,
            unchanged,
            found,
            n_grades=len(grader.grades_),
            referable=self.referable,
            groups=groups,
            n_resamples=self.n_resamples,
            random_state=self.random_state,
            out_of_fold=out_of_fold,
        )


def _listed(values: Any) -> list[Any]:
    return [values] if isinstance(values, str | Integral) else list(values)


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def read_asked(
    grader: Grader, model: Any, X: Any, y: ArrayLike, groups: ArrayLike | None, asked: StressAsked
) -> tuple[Images, NDArray[np.intp], NDArray[Any] | None]:
    """Return images, positions of their grades and known patients, before any image is read."""
    check_is_fitted(model)
    if not _reads_images(model) or not (isinstance(X, Images) or is_image_data(X)):
        refuse_single(X)
        raise DataError(
            f"{asked.owner} changes images, and needs a model of nothing but images, such as "
            "TransferClassifier, or a Pipeline that begins with FeatureExtractor. Got "
            f"{type(unwrapped(model)).__name__}, and X of type {type(X).__name__}: features that "
            "were computed before cannot be changed."
        )
    images, scale = as_images(X), grader.grades_
    if asked.referable is not None and not (
        _is_int(asked.referable) and 0 < asked.referable < len(scale)
    ):
        expected = f"a position on the scale, from 1 to {len(scale) - 1}, or None"
        raise invalid(asked.owner, "referable", expected, asked.referable)
    true = to_positions(y, scale, name="y")
    if len(true) != len(images):
        raise DataError(
            f"y must have one grade an image. Got {len(true)} for {len(images)} images."
        )
    if groups is None and isinstance(X, pd.DataFrame):
        groups = known_patients(X)
    return images, true, None if groups is None else read_patients(groups, len(images))


def _reads_images(model: Any) -> bool:
    """Whether a model predicts from images alone; a Pipeline does if its first step takes them."""
    grader, model = as_grader(model), unwrapped(model)
    if grader.takes_images or grader.readers():
        return grader.takes_images
    if isinstance(model, Pipeline):
        return _takes_images(model.steps[0][1])
    if isinstance(model, FoldEnsemble):
        return _reads_images(model.estimators_[0])
    inner = getattr(model, "estimator_", None)
    return _takes_images(model) if inner is None else _reads_images(inner)


def _takes_images(step: Any) -> bool:
    if not hasattr(step, "__sklearn_tags__"):
        return False
    takes = get_tags(step).input_tags
    return bool(takes.string and not takes.two_d_array)
