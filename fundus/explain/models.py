"""The models inside a model that are explained, and how each of them is."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from fundus.data.inputs import Images, as_images
from fundus.explain.explanation import Explanation
from fundus.explain.found import Found, Member
from fundus.explain.frozen_maps import explain_frozen, has_places
from fundus.explain.other_maps import explain_occluded, explain_trained, shrunk
from fundus.explain.spreading import Place
from fundus.explain.targets import Leaf, Opaque, Part, knows
from fundus.frozen.loading import read_rows
from fundus.frozen.sources import ArraySource, Source
from fundus.grades.foreign import as_grader, unwrapped
from fundus.grades.grader import Grader, Reading, Votes
from fundus.grades.labels import to_positions
from fundus.images import ImageRecipe
from fundus.images.aperture import field_of_view
from fundus.images.placement import place
from fundus.parameters import invalid

METHODS = ("auto", "exact", "hirescam", "occlusion")


class Explains:
    """A grader of photographs that can say where it looks."""

    def explained_parts(self) -> list[Part]:
        """Return the models whose mean is explained."""
        raise NotImplementedError

    def explain(
        self, X: Any, *, grade: Hashable | None = None, method: str = "auto"
    ) -> Explanation:
        """Map on each photograph what raises and what lowers its severity.

        Parameters
        ----------
        X : images
            As in `fit`.
        grade : label, default=None
            One of ``grades_``, to map the evidence for it instead of the severity.
        method : {"auto", "exact", "hirescam", "occlusion"}, default="auto"
            "exact": the map and a constant add up to the value; for heads that are linear in frozen
            features, whatever the pooling. "hirescam": values of maps times their gradients, also
            for neural heads and trained layers. "occlusion": predictions with parts covered, for
            any model; 121 passes of the network for each photograph. "auto" is the first of them
            that there is; ``method`` of the result says which.

        Returns
        -------
        Explanation
            Of an ensemble the mean over its models, and their disagreement. What is put around a
            model's severity, such as calibration or a second stage, is not in it.

        Raises
        ------
        InvalidParameterError
            If features are precomputed, `grade` is not on the scale or was not trained on, or there
            is no such `method` for this model.
        ImageReadError
            If files cannot be read; the first is named, the rest counted.
        """
        check_is_fitted(self)
        return _explain(self, self.explained_parts(), X, grade, method)


def explain_images(
    model: Any, X: Any, *, grade: Hashable | None = None, method: str = "auto"
) -> Explanation:
    """Map on each photograph what raises and what lowers a model's severity.

    As ``explain`` of this package's estimators, for any model of images: in a scikit-learn Pipeline
    that begins with `FeatureExtractor`, linear models are explained exactly; others by occlusion.

    Parameters
    ----------
    model : classifier or regressor
        Fitted.
    X : images
        What it predicts from.
    grade : label, default=None
        One of its grades, to map the evidence for it instead of the severity.
    method : {"auto", "exact", "hirescam", "occlusion"}, default="auto"
        See ``TransferClassifier.explain``.

    Returns
    -------
    Explanation

    Raises
    ------
    InvalidParameterError
        As ``TransferClassifier.explain``.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from fundus import FeatureExtractor
    >>> X = np.random.default_rng(0).integers(0, 255, (8, 40, 48, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("tiny", weights="fixed", cache=False)
    >>> model = make_pipeline(extractor, Ridge()).fit(X, [0, 1, 2, 3] * 2)
    >>> explain_images(model, X[:2])
    <Explanation of the severity of 2 photographs: exact>
    """
    inner = unwrapped(model)
    if isinstance(inner, Explains):
        return inner.explain(X, grade=grade, method=method)
    check_is_fitted(inner)
    return _explain(inner, parts_of(inner), X, grade, method)


def parts_of(model: Any, scale: NDArray[Any] | None = None) -> list[Part]:
    """Return the models inside a fitted model whose mean is explained.

    Parameters
    ----------
    model : estimator
        A grader of this package, or any other; also in a search or a FrozenEstimator.
    scale : ndarray, shape (n_grades,), default=None
        That of all models; by default this one's own.
    """
    inner = unwrapped(model)
    if isinstance(inner, Explains):
        parts = inner.explained_parts()
    else:
        grader = as_grader(inner, scale)
        leaf: Leaf | Opaque | None = _leaf_of_pipeline(inner, grader)
        if leaf is None:
            leaf = Opaque(partial(_votes, grader), grader.classes_, grader.grades_)
        parts = [Part(leaf, grader.grades_)]
    return parts if scale is None else [replace(part, scale=scale) for part in parts]


def _votes(grader: Grader, X: Any) -> Votes:
    """Predict; a model that only names grades is sure of each."""
    reading = Reading(X)
    votes = grader.votes_of(reading)
    if votes.proba is not None or votes.severity is not None:
        return votes
    named = grader.labels_of(reading)[:, None] == grader.classes_[None, :]
    return Votes(named.astype(np.float64), None, None)


@dataclass(frozen=True)
class _RestOfPipeline:
    """The steps after a `FeatureExtractor`, as a head."""

    estimator: Any
    is_regressor: bool
    residual_std: float | None = None

    def network(self) -> Any:
        return self.estimator

    def outputs(self, source: Source) -> NDArray[np.float64]:
        X = source.batch(np.arange(len(source)), None)[0]
        if self.is_regressor:
            return np.asarray(self.estimator.predict(X), dtype=np.float64)
        if hasattr(self.estimator, "predict_proba"):
            return np.asarray(self.estimator.predict_proba(X), dtype=np.float64)
        predicted = np.asarray(self.estimator.predict(X))
        return (predicted[:, None] == self.estimator.classes_[None, :]).astype(np.float64)


def _leaf_of_pipeline(model: Any, grader: Grader) -> Leaf | None:
    """A scikit-learn Pipeline whose first step gives frozen features."""
    if not isinstance(model, Pipeline) or len(model.steps) < 2:
        return None
    extractor = model.steps[0][1]
    frozen = getattr(extractor, "frozen_", None)
    if frozen is None:
        return None
    rest = Pipeline(model.steps[1:])
    head = _RestOfPipeline(rest, is_regressor(model))
    grades = grader.grades_
    known = to_positions(grader.classes_, grades) if len(grades) else np.empty(0, dtype=np.intp)
    return Leaf(
        frozen,
        head,
        grades,
        np.sort(known),
        lambda X: ArraySource(extractor.transform(X)),
        labelled=True,
        n_jobs=extractor.n_jobs,
    )


def _explain(owner: object, parts: list[Part], X: Any, grade: Any, method: str) -> Explanation:
    if method not in METHODS:
        raise invalid(owner, "method", f"one of {', '.join(map(repr, METHODS))}", method)
    known = [part for part in parts if knows(part, grade)]
    if not known:
        scale = parts[0].scale.tolist()
        expected = f"None or one of the grades {scale} that the model was trained on"
        raise invalid(owner, "grade", expected, grade)
    images = as_images(X)
    found = _found(owner, known, images, grade, method)
    places = _places(found, images)
    members: list[Member] = [one.member(places[k]) for k, one in enumerate(found)]
    of = "severity" if grade is None else f"grade {grade}"
    if any(one.by_scores for one in found):
        of = f"score of {'the ' if grade is None else ''}{of}"
    return Explanation(images, members, of)


def _found(
    owner: object, parts: list[Part], images: Images, grade: Any, method: str
) -> list[Found]:
    """Explain every part; those that share frozen layers together."""
    found: list[Found | None] = [None] * len(parts)
    shared: dict[Any, list[int]] = {}
    for k, part in enumerate(parts):
        leaf = part.model
        if not isinstance(leaf, Leaf) or method == "occlusion":
            continue
        if leaf.frozen.network.freeze != "all":
            found[k] = None if method == "exact" else explain_trained(part, images, grade)
        elif has_places(leaf.frozen):
            shared.setdefault((leaf.frozen.key(), leaf.frozen.power), []).append(k)
    for rows in shared.values():
        some = [parts[k] for k in rows]
        together = explain_frozen(some, images, grade, method)
        for k, one in zip(rows, together, strict=True):
            found[k] = one
    for k, part in enumerate(parts):
        if found[k] is None:
            if method in ("exact", "hirescam"):
                raise invalid(owner, "method", _instead(part, method), method)
            found[k] = explain_occluded(part, images, grade)
    return [one for one in found if one is not None]


def _instead(part: Part, method: str) -> str:
    """What a method must be for a part that it cannot explain."""
    leaf = part.model
    if not isinstance(leaf, Leaf):
        return "'auto' or 'occlusion' for a model of which only predictions are known"
    neural = hasattr(leaf.head, "tail")
    if neural and method == "exact":
        return "'auto', 'hirescam' or 'occlusion' for a head that is a network"
    why = "whose maps have no positions" if neural else "which is not linear in frozen features"
    head = leaf.head.tail.head if neural else leaf.head.network()
    return f"'auto' or 'occlusion' for the head {head!r}, {why}"


def _places(found: list[Found], images: Images) -> list[list[Place]]:
    """Where the maps of each part lie on each photograph; the same place is one object."""
    made: dict[Any, list[Place]] = {}
    places = []
    for one in found:
        leaf = one.part.model
        recipe = leaf.frozen.recipe if isinstance(leaf, Leaf) else None
        masked = one.method == "occlusion" or (isinstance(leaf, Leaf) and leaf.frozen.pools_fov)
        n_jobs = leaf.n_jobs if isinstance(leaf, Leaf) else None
        key = (recipe, masked)
        if key not in made:

            def find(row: int, recipe: ImageRecipe | None = recipe, masked: bool = masked) -> Place:
                return _place(images, row, recipe, masked=masked)

            rows = read_rows(find, range(len(images)), n_jobs)
            made[key] = [rows[row] for row in range(len(images))]
        places.append(made[key])
    return places


def _place(images: Images, row: int, recipe: ImageRecipe | None, *, masked: bool) -> Place:
    name = images.where(row)
    if recipe is None:  # a model of its own preprocessing, which was given whole photographs
        photograph = images.photograph(row)
        at = place(photograph, ImageRecipe(1, crop=None), name=name)
        return Place(at, field_of_view(shrunk(photograph)[None])[0] if masked else None)
    at = place(images.content(row), recipe, name=name)
    picture = images.picture(row, recipe) if masked else None
    return Place(at, None if picture is None else field_of_view(picture[None])[0])
