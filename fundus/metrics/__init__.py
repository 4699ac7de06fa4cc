"""Scores of grades and of probabilities on an ordered scale, and class weights."""

from fundus.metrics.kappa import (
    adjacent_accuracy,
    class_sample_weight,
    inverse_frequency_weights,
    kappa_scorer,
    make_kappa_scorer,
    quadratic_weighted_kappa,
)
from fundus.metrics.probability import (
    brier_score,
    expected_calibration_error,
    macro_auc,
    ranked_probability_score,
)

__all__ = [
    "adjacent_accuracy",
    "brier_score",
    "class_sample_weight",
    "expected_calibration_error",
    "inverse_frequency_weights",
    "kappa_scorer",
    "macro_auc",
    "make_kappa_scorer",
    "quadratic_weighted_kappa",
    "ranked_probability_score",
]
