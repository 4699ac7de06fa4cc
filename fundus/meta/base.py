"""`MetaGrader`: the base of every meta-estimator of graders."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import get_tags

from fundus.explain.models import Explains, parts_of
from fundus.explain.targets import Part
from fundus.grades.foreign import as_grader, unwrapped, whole_scale
from fundus.grades.grader import Grader, Reader, Reading, Votes
from fundus.grades.labels import to_positions
from fundus.meta.out_of_fold import TrainingData, read_training
from fundus.meta.voting import Ballot, votes_on
from fundus.parameters import invalid
from fundus.runtime.searches import Called, as_a_fit_of_a_search
from fundus.saving.codec import Decoder
from fundus.saving.mixin import DECIDED, Saves
from fundus.saving.schema import CLASSES, COLUMN_NAMES, COUNT, Field, instance, require
from fundus.saving.trial import check_estimator, takes_rows
from fundus.tracing.mixin import Traces, votes_in
from fundus.tracing.trace import Trace
from fundus.tracing.votes import on_all_classes

#: What every meta-estimator saves.
OF_A_GRADER: dict[str, Field] = {
    "classes_": CLASSES,
    "n_features_in_": COUNT.or_absent,
    "feature_names_in_": COLUMN_NAMES.or_absent,
    **DECIDED,
}


class MetaGrader(
    Saves, Explains, Traces, Grader, Called, MetaEstimatorMixin, ClassifierMixin, BaseEstimator
):
    """A classifier of grades around an ``estimator``, which takes the same ``X``.

    A subclass fits in ``_fit`` and predicts in ``votes_of``, by default as the wrapped model does;
    ``_models`` are the fitted models that read the images. It sets ``classes_`` when
    it is fitted. Any classifier or regressor may be wrapped: see `as_grader`.

    Parameters
    ----------
    estimator : classifier or regressor
    """

    # requested, so that metadata routing passes the patients
    __metadata_request__fit = {"groups": True}  # noqa: RUF012 - how scikit-learn reads it

    estimator: Any
    _saved: ClassVar[Collection[str]] = OF_A_GRADER
    _not_saved: ClassVar[tuple[str, ...]] = ("estimator", "n_jobs", "verbose")

    @as_a_fit_of_a_search
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit on graded images.

        Parameters
        ----------
        X : images or array-like
            What the estimator takes; a frame's ``patient`` column keeps patients together.
        y : array-like, shape (n_samples,)
            Grades; a pandas Categorical brings their order.
        sample_weight : array-like of float, shape (n_samples,), default=None
            Weights of the rows in the models, and in what is fitted on their predictions.
        groups : array-like, shape (n_samples,), default=None
            Patients; by default those of the frame.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter cannot be used.
        SplitError
            If a fold has a patient or an image on both sides, or there are fewer patients than
            folds.
        DataError
            If lengths differ, a grade is missing, or a patient is unknown.

        Warns
        -----
        DataWarning
            Where more than two names are sorted alphabetically; see
            `TransferClassifier`.
        """
        self._check()
        for name in DECIDED:  # of an earlier fit
            self.__dict__.pop(name, None)
        data = read_training(X, y, sample_weight, groups, self._owner())
        self._fit(data)
        self._take_features_of(self._models()[0], data.X)
        return self

    @classmethod
    def _from_record(cls, record: dict[str, Any], decoder: Decoder) -> Self:
        # the estimator itself is not saved, but its fitted clone is
        if isinstance(params := record.get("params"), dict):
            record = {**record, "params": {**params, "estimator": None}}
        model = super()._from_record(record, decoder)
        model.estimator = model._unfitted()
        return model

    def _check_saved(self) -> None:
        super()._check_saved()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of former parameters, told when it was fitted
            self._check()
        to_positions(self.classes_, self.grades_, name="classes_")
        for grader in self._graders():
            own = grader.classes_
            known = np.isin(own, self.classes_).all() if len(own) else True
            require(bool(known), self, "classes_", f"labels with {own}", self.classes_)
        models = self._models()
        inputs = {_input_of(model) for model in models}
        require(len(inputs) == 1, self, "models", "of one kind of input", sorted(inputs, key=repr))
        inner = models[0]
        for name in ("n_features_in_", "feature_names_in_"):
            if name in vars(self) and hasattr(inner, name):
                expected, found = getattr(inner, name), getattr(self, name)
                same = np.array_equal(expected, found)
                require(same, self, name, f"{expected!r}, as of the model inside", found)

    def _check_scale(self) -> None:
        """Raise if the models inside have another order of the grades."""
        scale = whole_scale(self._models()[0], self.classes_, self.grades_)
        same = np.array_equal(scale, self.grades_)
        require(same, self, "grades_", f"{scale}, as of the model inside", self.grades_)

    def _unfitted(self) -> Any:
        """Return the estimator as it was before any fit, for a model that was loaded."""
        return clone(unwrapped(self._models()[0]))

    def _check(self) -> None:
        """Raise for a parameter that cannot be used, before any work."""

    def _owner(self) -> Any:
        """Return the estimator whose scale is used, where it was given."""
        return self

    def _fit(self, data: TrainingData) -> None:
        raise NotImplementedError

    def _models(self) -> list[Any]:
        """Return the fitted models that read the images."""
        return [self.estimator_]

    def _graders(self) -> list[Grader]:
        scale = self.grades_
        return [as_grader(model, scale) for model in self._models()]

    def _asked(self) -> Grader:
        """Return a model that shows the kind of all, before they are fitted too."""
        fitted = "classes_" in vars(self)
        return as_grader(self._models()[0] if fitted else self.estimator)

    def _check_severity(self) -> None:
        if not as_grader(self.estimator).gives_severity():
            expected = "a regressor, or a classifier with predict_severity or predict_proba"
            raise invalid(self, "estimator", expected, self.estimator)

    def _take_features_of(self, model: Any, X: Any) -> None:
        """Copy the names and the number of the features that were seen in fit."""
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def gives_proba(self) -> bool:
        """Whether it has probabilities, fitted or not."""
        return self._asked().gives_proba()

    def gives_severity(self) -> bool:
        """Whether it has a severity, fitted or not."""
        return self._asked().gives_severity()

    def models_inside(self) -> list[Any]:
        """Return the fitted models that read the images."""
        return self._models()

    @property
    def takes_images(self) -> bool:
        """Whether it predicts from images, and from nothing else."""
        return all(grader.takes_images for grader in self._graders())

    def readers(self) -> list[Reader]:
        """Return the frozen layers of all models that read the images."""
        return [reader for grader in self._graders() for reader in grader.readers()]

    def explained_parts(self) -> list[Part]:
        """Return the models inside whose mean is explained."""
        return [part for model in self._models() for part in parts_of(model, self.grades_)]

    def votes_of(self, reading: Reading) -> Votes:
        """Predict what the wrapped model does."""
        return self._graders()[0].votes_of(reading)

    def labels_of(self, reading: Reading) -> NDArray[Any]:
        """Predict labels; the wrapped model's where the votes have none."""
        best = self.votes_of(reading).best
        return self._graders()[0].labels_of(reading) if best is None else self.classes_[best]

    def _inner_votes(self, reading: Reading) -> Votes:
        """Predictions of the wrapped model, on the classes and the scale of this one."""
        return votes_on(self._graders()[0], reading, self.classes_, self.grades_)

    def traced_votes(self, trace: Trace) -> Votes:
        """Predict what the wrapped model does, with the operations of Keras."""
        return votes_in(self._models()[0], trace, self.grades_)

    def _traced_inside(self, trace: Trace) -> list[Votes]:
        """Predictions of the wrapped models, on the classes and the scale of this one."""
        whole = self.classes_, self.grades_
        found = []
        for model, grader in zip(self._models(), self._graders(), strict=True):
            votes = votes_in(model, trace, self.grades_)
            scale = grader.grades_ if grader.knows_labels else self.grades_
            own = (grader.classes_ if len(grader.classes_) else self.classes_, scale)
            found.append(on_all_classes(votes, own, whole))
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        # around a regressor the labels are treated as ordered
        tags.classifier_tags.poor_score = (
            inner.classifier_tags is None or inner.classifier_tags.poor_score
        )
        return tags


#: What a meta-estimator with a ballot saves.
OF_A_BALLOT: dict[str, Field] = {**OF_A_GRADER, "ballot_": instance(Ballot, "a ballot")}


def _input_of(model: Any) -> tuple[Any, ...]:
    """What a fitted model takes, after a foreign one was tried."""
    inner = unwrapped(model)
    if not isinstance(inner, Grader):
        check_estimator(inner)
    return as_grader(inner).takes_images, takes_rows(inner), getattr(inner, "n_features_in_", None)


class HasBallot(MetaGrader):
    """A meta-estimator that reads severities or probabilities by the rules of a `Ballot`.

    Attributes
    ----------
    ballot_ : Ballot
        How probabilities and severity are read from the models.
    """

    ballot_: Ballot

    _saved: ClassVar[Collection[str]] = OF_A_BALLOT

    @property
    def grades_(self) -> NDArray[Any]:  # type: ignore[override]
        """The scale, lowest grade first."""
        return self.ballot_.scale

    def _check_saved(self) -> None:
        super()._check_saved()
        self._check_scale()
        same = np.array_equal(self.ballot_.classes, self.classes_)
        require(same, self, "classes_", f"{self.ballot_.classes}, as of the ballot", self.classes_)
        grader, voting = as_grader(self._models()[0]), self.ballot_.voting
        ways = {grader.votes_by, getattr(grader, "voting_", grader.votes_by)}
        require(voting in ways, self, "ballot_", f"one that votes by {sorted(ways)}", voting)

    def _rank(self) -> NDArray[np.intp]:
        """Position of every class among the grades; classes are sorted as labels."""
        return np.argsort(np.argsort(to_positions(self.classes_, self.ballot_.scale)))
