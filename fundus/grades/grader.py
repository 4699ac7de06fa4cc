"""The base of graders, which read images once and predict from what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from fundus.frozen.sources import Source


class Votes(NamedTuple):
    """Predictions for n images.

    Parameters
    ----------
    proba : ndarray of float, shape (n, n_classes), or None
        ``None`` if the model has none.
    severity : ndarray of float, shape (n,), or None
        In positions on the scale.
    best : ndarray of int, shape (n,), or None
        Position of the predicted label in the classes; ``None`` if only ``labels_of`` knows it.
    cutpoints : ndarray of float, shape (n_grades - 1,), default=None
        Cutpoints of `severity`, in positions on the scale.
    std : float, default=None
        Standard deviation of the severity's error, if `proba` was made from it.
    """

    proba: NDArray[np.float64] | None
    severity: NDArray[np.float64] | None
    best: NDArray[np.intp] | None
    cutpoints: NDArray[np.float64] | None = None
    std: float | None = None

    def of(self, rows: NDArray[np.intp]) -> Votes:
        """Return the predictions for some of the images."""
        own = {name: part for name, part in self._asdict().items() if name in self._fields[:3]}
        return self._replace(**{name: part[rows] for name, part in own.items() if part is not None})


@dataclass(frozen=True)
class Reader:
    """Frozen layers for images.

    Parameters
    ----------
    key : hashable
        Two readers with equal keys give the same output for an image.
    model : estimator
        The model of the layers.
    run : callable
        Takes images as the model's ``predict`` does, and returns a `Source`.
    """

    key: Hashable
    model: Any
    run: Callable[[Any], Source]


@dataclass(frozen=True)
class Reading:
    """Images, and the outputs of frozen layers for them.

    Parameters
    ----------
    images : images or array-like
        The argument of ``predict``.
    sources : mapping of Source
        By the key of the `Reader`. If a model finds nothing under its key, it alone has these
        layers and runs them itself, so that only one such result is in memory at a time.
    """

    images: Any
    sources: Mapping[Hashable, Source] = field(default_factory=dict)


class Grader:
    """A classifier of grades; a subclass defines what it reads and how it predicts.

    It defines `votes_of` and, if it has frozen layers or wraps models with them, `readers`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Labels, sorted.
    grades_ : ndarray, shape (n_grades,)
        The scale, lowest grade first.
    """

    classes_: NDArray[Any]
    grades_: NDArray[Any]

    def votes_of(self, reading: Reading) -> Votes:
        """Predict from what was read, on the ``classes_`` and ``grades_`` of this grader.

        Parameters
        ----------
        reading : Reading
            From `read_images`, or from a model around this one.
        """
        raise NotImplementedError

    def readers(self) -> list[Reader]:
        """Return the frozen layers for images.

        One for each model; none if the model takes `X` as it is.
        """
        return []

    def members(self, reading: Reading) -> list[Votes]:
        """Predict with each of the models that are averaged, if there are several, on one scale.

        Parameters
        ----------
        reading : Reading
        """
        return [self.votes_of(reading)]

    def average(self, members: list[Votes]) -> Votes:
        """Combine the predictions of `members` to those of `votes_of`.

        Parameters
        ----------
        members : list of Votes
        """
        return members[0]

    def labels_of(self, reading: Reading) -> NDArray[Any]:
        """Predict labels from what was read.

        Parameters
        ----------
        reading : Reading

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels out of ``classes_``.
        """
        return self.classes_[self.votes_of(reading).best]

    @property
    def votes_by(self) -> str:
        """How an ensemble of such models votes: "soft", "hard", "severity" or "cutpoints"."""
        return "soft" if self.gives_proba() else "hard"

    @property
    def rounds_severity(self) -> bool:
        """Whether it predicts the grade that is nearest to the severity."""
        return self.votes_by == "severity"

    @property
    def takes_images(self) -> bool:
        """Whether it predicts from images alone."""
        return bool(self.readers())

    @property
    def knows_labels(self) -> bool:
        """Whether it is fitted on labels; a regressor of another package is fitted on positions."""
        return True

    def gives_proba(self) -> bool:
        """Whether it has probabilities, fitted or not."""
        return True

    def gives_severity(self) -> bool:
        """Whether it has a severity, fitted or not."""
        return True

    def read_images(self, X: Any) -> Reading:
        """Read images, and run frozen layers on them once for all models that share these.

        Parameters
        ----------
        X : images or array-like
        """
        check_is_fitted(self)
        readers = self.readers()
        users = Counter(reader.key for reader in readers)
        first = {reader.key: reader for reader in reversed(readers)}
        shared = [key for key, n in users.items() if n > 1 or len(users) == 1]
        return Reading(X, {key: first[key].run(X) for key in shared})

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the grade of every image.

        The nearest one to the severity for regressors, the one between the cutpoints if there
        are some, else the most probable one.

        Parameters
        ----------
        X : images or array-like
            As in `fit`.

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels out of ``classes_``.

        Raises
        ------
        ImageReadError
            If files cannot be read; the first is named, the rest counted.
        DivergedError
            If a head gives numbers that are not finite.
        """
        return self.labels_of(self.read_images(X))

    @available_if(lambda self: self.gives_proba())
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of every grade that was trained on.

        Those of a regressor fall with the distance from its severity, as the density of a normal
        error whose standard deviation is ``head_.residual_std``: the root mean square of its
        residuals on training images that it was not fitted on. The nearest grade is the most
        probable. Cutpoints do not change probabilities, so the most probable grade may be
        different from the predicted one.

        Parameters
        ----------
        X : images or array-like
            As in `fit`.

        Returns
        -------
        ndarray of float, shape (n_samples, n_classes)
            In the order of ``classes_``; every row sums to 1.
        """
        proba = self.votes_of(self.read_images(X)).proba
        assert proba is not None
        return proba

    @available_if(lambda self: self.gives_severity())
    def predict_severity(self, X: Any) -> NDArray[np.float64]:
        """Return the severity of every image on the grade axis.

        Parameters
        ----------
        X : images or array-like
            As in `fit`.

        Returns
        -------
        ndarray of float, shape (n_samples,)
            The expected grade of a classifier, the raw output of a regressor, in positions on the
            scale: 0 is its lowest grade. The expected grade of a regressor's probabilities is
            different: at the ends of the scale it is nearer to the middle.
        """
        severity = self.votes_of(self.read_images(X)).severity
        assert severity is not None
        return severity
