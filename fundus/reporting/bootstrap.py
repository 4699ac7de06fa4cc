"""Intervals from resampled patients with all their images, and Wilson's for proportions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fundus.grades.patients import read_patients
from fundus.metrics.resampled import Weights, of
from fundus.parameters import invalid
from fundus.runtime.threads import prefetch, thread_count

#: A proportion with fewer hits, or fewer misses, gets Wilson's interval.
FEW = 10

#: Cells in a chunk of resamples, so that memory stays constant (2 MB, which caches hold).
_CHUNK = 250_000

#: Least share of resamples with a defined score that an interval needs.
_DEFINED = 0.9


@dataclass(frozen=True)
class Interval:
    """An interval of a score.

    Parameters
    ----------
    low, high : float
        ``nan`` if too few resamples have a score.
    confidence : float
        Such as 0.95.
    by_patient : bool
        Whether patients with all their photographs were resampled, or single photographs.
    method : {"bootstrap", "wilson"}, default="bootstrap"
        Percentiles of resamples, or Wilson's interval of a proportion.
    """

    low: float
    high: float
    confidence: float
    by_patient: bool
    method: str = "bootstrap"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        ends = {"low": finite_or_none(self.low), "high": finite_or_none(self.high)}
        return {**vars(self), **ends}


@dataclass(frozen=True)
class Measure:
    """A score and its interval.

    Parameters
    ----------
    value : float
        ``nan`` if it is undefined.
    interval : Interval
    """

    value: float
    interval: Interval

    @property
    def span(self) -> str:
        """The interval as text; ``-`` if there is none."""
        if math.isnan(self.interval.low):
            return "-"
        return f"{self.interval.low:.3f} to {self.interval.high:.3f}"

    def __str__(self) -> str:
        return "undefined" if math.isnan(self.value) else f"{self.value:.3f} ({self.span})"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        return {"value": finite_or_none(self.value), **self.interval.to_dict()}


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Resamples of patients; every score uses the same ones.

    Parameters
    ----------
    codes : ndarray of int, shape (n_images,)
        Patient of each image, ``0 … n_patients - 1``.
    by_patient : bool
        Whether the patients are known.
    n_resamples : int, default=2000
    confidence : float, default=0.95
    random_state : int, default=0

    Notes
    -----
    Cost: O(n_resamples · n_images) for each score, in chunks
    of 2 MB. All scores of 369 images with 2000 resamples take about a second on one core.
    """

    codes: NDArray[np.intp]
    by_patient: bool
    n_resamples: int = 2000
    confidence: float = 0.95
    random_state: int = 0

    @property
    def n_patients(self) -> int:
        """Number of patients, or of images where patients are unknown."""
        return int(self.codes.max()) + 1

    @property
    def _rows(self) -> int:
        """Resamples in a chunk."""
        return max(1, _CHUNK // len(self.codes))

    def weights(self) -> Iterator[Weights]:
        """Yield how often each image was drawn, shape (n_in_chunk, n_images)."""
        rng = np.random.default_rng(self.random_state)
        n = self.n_patients
        for start in range(0, self.n_resamples, self._rows):
            rows = min(self._rows, self.n_resamples - start)
            drawn = np.empty((rows, n))
            for row in drawn:
                row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
            yield of(drawn, self.codes)

    def scores(
        self,
        statistic: Callable[[Weights], dict[str, NDArray[np.float64]]],
        *,
        n_jobs: int | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Return scores of all resamples by name.

        `statistic` takes weights (n, n_images) and returns arrays of n scores by name. Of many
        images it is computed in threads, while more resamples are drawn: one pass for all scores
        costs less than one for each. `n_jobs` is 1 for what must not run in threads.
        """
        threads = min(thread_count(n_jobs), -(-self.n_resamples // self._rows))
        if threads == 1:
            parts = [statistic(weights) for weights in self.weights()]
        else:
            scored = prefetch(statistic, self.weights(), threads=threads, ahead=2 * threads)
            parts = [part for _, part in scored]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def measure(self, value: float, resampled: NDArray[np.float64]) -> Measure:
        """Join a score with the percentiles of its resamples."""
        low, high = percentiles(resampled, 50 * (1 - self.confidence))
        return Measure(float(value), Interval(low, high, self.confidence, self.by_patient))

    def proportion(
        self,
        hits: NDArray[np.bool_],
        among: NDArray[np.bool_],
        resampled: NDArray[np.float64],
    ) -> Measure:
        """Measure a share of images, with Wilson's interval near 0 and 1, else percentiles.

        Parameters
        ----------
        hits : ndarray of bool, shape (n_images,)
        among : ndarray of bool, shape (n_images,)
            The images that count.
        resampled : ndarray of float, shape (n_resamples,)
            The share in each resample.

        Notes
        -----
        Wilson's interval takes as many trials as there are patients among the images: two eyes
        of one patient are at most as alike as copies, so it may be too wide but not too narrow.
        """
        total, right = int(among.sum()), int((hits & among).sum())
        if not total:
            return self.measure(math.nan, np.empty(0))
        share = right / total
        if min(right, total - right) >= FEW:
            return self.measure(share, resampled)
        trials = len(np.unique(self.codes[among]))
        low, high = wilson(share * trials, trials, self.confidence)
        return Measure(share, Interval(low, high, self.confidence, self.by_patient, "wilson"))

    def area(
        self,
        value: float,
        resampled: NDArray[np.float64],
        positive: NDArray[np.bool_],
        negative: NDArray[np.bool_] | None = None,
    ) -> Measure:
        """Measure an AUC, with percentiles, or with Wilson's interval at 0 and 1.

        Parameters
        ----------
        value : float
        resampled : ndarray of float, shape (n_resamples,)
        positive, negative : ndarray of bool, shape (n_images,)
            Images with and without the condition; by default all others.

        Notes
        -----
        All resamples of perfectly separated images have the same AUC. The variance of an
        AUC ``a`` is at most ``a (1 - a) / min(n_positive, n_negative)`` [1]_, that of a proportion
        of so many trials, so there the interval of the proportion is used, which may be too wide.

        References
        ----------
        .. [1] D. van Dantzig, "On the consistency and the power of Wilcoxon's two sample test",
           Proceedings KNAW A54, 1951.
        """
        if value not in (0.0, 1.0):
            return self.measure(value, resampled)
        parts = (positive, ~positive if negative is None else negative)
        trials = min(len(np.unique(self.codes[part])) for part in parts)
        low, high = wilson(value * trials, trials, self.confidence)
        return Measure(value, Interval(low, high, self.confidence, self.by_patient, "wilson"))


def bootstrap_of(
    content: NDArray[np.float64],
    patients: ArrayLike | None,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state: int = 0,
) -> Bootstrap:
    """Prepare the resampling of patients.

    Parameters
    ----------
    content : ndarray of float, shape (n_images, n_columns)
        All data that is scored; patients are sorted by it, so that intervals do not depend on
        the order of the rows or on the patients' names.

    Raises
    ------
    DataError
        If there is no image, lengths differ, or a patient is missing.
    InvalidParameterError
        If `confidence` is not between 0 and 1, or `n_resamples` below 1.
    """
    if not 0 < confidence < 1:
        raise invalid("", "confidence", "a number in (0, 1)", confidence)
    if n_resamples < 1:
        raise invalid("", "n_resamples", "at least 1", n_resamples)
    _, rank = np.unique(content, axis=0, return_inverse=True)
    rank = rank.reshape(-1)
    who = np.arange(len(rank))
    if patients is not None:
        who = pd.factorize(read_patients(patients, len(rank), name="groups"))[0]
    order = np.lexsort((rank, who))
    starts = np.flatnonzero(np.diff(who[order], prepend=-1))
    parts = np.split(rank[order], starts[1:])
    ranks = [tuple(part.tolist()) for part in parts]
    place = np.empty(len(ranks), dtype=np.intp)
    place[sorted(range(len(ranks)), key=ranks.__getitem__)] = np.arange(len(ranks))
    return Bootstrap(place[who], patients is not None, n_resamples, confidence, random_state)


def wilson(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion of at least one trial.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       JASA 22(158), 1927. :doi:`10.1080/01621459.1927.10502953`

    Examples
    --------
    >>> low, high = wilson(20, 20)
    >>> round(low, 3), high
    (0.839, 1.0)
    """
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    middle = share + z * z / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # at 0 and 1 one end is the share itself, except for rounding
    low = 0.0 if share == 0 else (middle - reach) / scale
    high = 1.0 if share == 1 else (middle + reach) / scale
    return low, high


def percentiles(scores: NDArray[np.float64], tail: float) -> tuple[float, float]:
    """Percentiles ``tail`` and ``100 - tail`` of scores.

    Parameters
    ----------
    scores : ndarray of float, shape (n_resamples,)
    tail : float
        In percent.

    Returns
    -------
    low, high : float
        ``nan`` if fewer than 90 % are finite, or all are the same: then the resamples, such as
        those of a perfect grading, show nothing about other images.
    """
    known = scores[np.isfinite(scores)]
    if not len(known) or len(known) < _DEFINED * len(scores) or np.ptp(known) == 0:
        return math.nan, math.nan
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def finite_or_none(value: float) -> float | None:
    """Return a number for JSON, which has no ``nan``."""
    return float(value) if math.isfinite(value) else None
