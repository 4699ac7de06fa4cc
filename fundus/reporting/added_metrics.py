"""Scores by the metrics of plugins, each with its interval."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import PluginError
from fundus.metrics.registered import metric_value, needed, warn_of_metric, warn_of_resamples
from fundus.metrics.resampled import Scores, Weights
from fundus.plugins.registry import get_registry
from fundus.reporting.bootstrap import Bootstrap, Measure


def added_measures(
    true: NDArray[np.intp],
    pred: NDArray[np.intp],
    severity: NDArray[np.float64] | None,
    proba: NDArray[np.float64] | None,
    bootstrap: Bootstrap,
) -> dict[str, Measure]:
    """Score a grading by every metric of a plugin that has what it needs.

    One that fails on the images is left out, with a warning. In a resample that it fails on, as
    where a grade is missing, it is not defined; see `fundus.reporting.bootstrap.percentiles`.

    Parameters
    ----------
    true, pred : ndarray of int, shape (n_images,)
        Positions on the scale.
    severity : ndarray of float, shape (n_images,), or None
    proba : ndarray of float, shape (n_images, n_grades), or None
    bootstrap : Bootstrap

    Returns
    -------
    dict of str to Measure
        By ``"plugin/name"``.

    Warns
    -----
    PluginWarning
        If a metric fails; ``FUNDUS_STRICT_PLUGINS=1`` raises the error instead.
    """
    metrics, values = {}, {}
    for entry in get_registry().entries["metric"]:
        found = needed(entry, pred, severity, proba)
        if found is None:
            continue
        try:
            values[entry.lasting_name] = metric_value(entry, true, found)
        except PluginError as error:
            warn_of_metric(error)
            continue
        metrics[entry.lasting_name] = entry, found
    if not metrics:
        return {}
    images = np.arange(len(true))
    failed: dict[str, tuple[int, PluginError]] = {}

    def statistic(weights: Weights) -> dict[str, Scores]:
        drawn = [np.repeat(images, row.astype(np.intp)) for row in weights]
        scores = {name: np.full(len(drawn), math.nan) for name in metrics}
        for k, rows in enumerate(drawn):
            for name, (entry, found) in metrics.items():
                try:
                    scores[name][k] = metric_value(entry, true[rows], found[rows])
                except PluginError as error:
                    count, first = failed.get(name, (0, error))
                    failed[name] = count + 1, first
        return scores

    # functions of others may not be made for threads
    resampled = bootstrap.scores(statistic, n_jobs=1)
    for count, cause in failed.values():
        warn_of_resamples(cause, count, bootstrap.n_resamples)
    return {name: bootstrap.measure(values[name], resampled[name]) for name in metrics}
