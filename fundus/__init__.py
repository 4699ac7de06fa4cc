"""Grade retinal fundus photographs for diabetic retinopathy by transfer learning.

Public names load on first use, so that importing the package imports neither Keras nor
TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fundus.audit import audit_images as audit_images
    from fundus.calibration import (
        CumulativeCalibratedClassifierCV as CumulativeCalibratedClassifierCV,
    )
    from fundus.conformal import OrdinalConformalClassifier as OrdinalConformalClassifier
    from fundus.cutpoint_classifiers import FixedCutpointClassifier as FixedCutpointClassifier
    from fundus.cutpoint_classifiers import TunedCutpointClassifierCV as TunedCutpointClassifierCV
    from fundus.cutpoints import optimal_cutpoints as optimal_cutpoints
    from fundus.data.loaders import load_image_folder as load_image_folder
    from fundus.data.loaders import load_image_table as load_image_table
    from fundus.data.loaders import load_images as load_images
    from fundus.data.synthetic import make_fundus as make_fundus
    from fundus.ensemble import FoldEnsemble as FoldEnsemble
    from fundus.estimator import TransferClassifier as TransferClassifier
    from fundus.features import FeatureExtractor as FeatureExtractor
    from fundus.grades import GRADE_NAMES as GRADE_NAMES
    from fundus.grades import is_referable as is_referable
    from fundus.grades import is_sight_threatening as is_sight_threatening
    from fundus.grades import patient_grades as patient_grades
    from fundus.heads.neural import ReluHead as ReluHead
    from fundus.heads.neural import SoftmaxHead as SoftmaxHead
    from fundus.heads.ordinal import CoralHead as CoralHead
    from fundus.heads.ordinal import CornHead as CornHead
    from fundus.heads.ordinal import SoftLabelHead as SoftLabelHead
    from fundus.heads.ordinal_estimators import OrdinalLogisticHead as OrdinalLogisticHead
    from fundus.heads.ordinal_estimators import (
        OrdinalLogisticRegression as OrdinalLogisticRegression,
    )
    from fundus.heads.ordinal_ridge import OrdinalRidge as OrdinalRidge
    from fundus.heads.ordinal_ridge import OrdinalRidgeHead as OrdinalRidgeHead
    from fundus.heads.sklearn_heads import LogisticHead as LogisticHead
    from fundus.heads.sklearn_heads import RidgeHead as RidgeHead
    from fundus.heads.sklearn_heads import SVMHead as SVMHead
    from fundus.images.augment import Augmentation as Augmentation
    from fundus.metrics import adjacent_accuracy as adjacent_accuracy
    from fundus.metrics import inverse_frequency_weights as inverse_frequency_weights
    from fundus.metrics import kappa_scorer as kappa_scorer
    from fundus.metrics import make_kappa_scorer as make_kappa_scorer
    from fundus.metrics import quadratic_weighted_kappa as quadratic_weighted_kappa
    from fundus.near_duplicates import find_near_duplicates as find_near_duplicates
    from fundus.plugins import list_backbones as list_backbones
    from fundus.plugins import list_heads as list_heads
    from fundus.plugins import list_preprocessors as list_preprocessors
    from fundus.proba_metrics import brier_score as brier_score
    from fundus.proba_metrics import expected_calibration_error as expected_calibration_error
    from fundus.proba_metrics import macro_auc as macro_auc
    from fundus.proba_metrics import ranked_probability_score as ranked_probability_score
    from fundus.reporting.comparison import paired_difference as paired_difference
    from fundus.reporting.coverage import coverage_report as coverage_report
    from fundus.reporting.operating_points import operating_point as operating_point
    from fundus.reporting.screening import screening_report as screening_report
    from fundus.saving.bundle import load as load
    from fundus.second_stage import SecondStageClassifier as SecondStageClassifier
    from fundus.splits import GuardedSplit as GuardedSplit
    from fundus.splits import check_split as check_split
    from fundus.store import Cache as Cache

_ROOMS = {
    "Augmentation": "images.augment",
    "Cache": "store",
    "CoralHead": "heads.ordinal",
    "CornHead": "heads.ordinal",
    "CumulativeCalibratedClassifierCV": "calibration",
    "FeatureExtractor": "features",
    "FixedCutpointClassifier": "cutpoint_classifiers",
    "FoldEnsemble": "ensemble",
    "GRADE_NAMES": "grades",
    "GuardedSplit": "splits",
    "LogisticHead": "heads.sklearn_heads",
    "OrdinalConformalClassifier": "conformal",
    "OrdinalLogisticHead": "heads.ordinal_estimators",
    "OrdinalLogisticRegression": "heads.ordinal_estimators",
    "OrdinalRidge": "heads.ordinal_ridge",
    "OrdinalRidgeHead": "heads.ordinal_ridge",
    "ReluHead": "heads.neural",
    "RidgeHead": "heads.sklearn_heads",
    "SVMHead": "heads.sklearn_heads",
    "SecondStageClassifier": "second_stage",
    "SoftmaxHead": "heads.neural",
    "SoftLabelHead": "heads.ordinal",
    "TransferClassifier": "estimator",
    "TunedCutpointClassifierCV": "cutpoint_classifiers",
    "adjacent_accuracy": "metrics",
    "audit_images": "audit",
    "brier_score": "proba_metrics",
    "check_split": "splits",
    "coverage_report": "reporting.coverage",
    "expected_calibration_error": "proba_metrics",
    "find_near_duplicates": "near_duplicates",
    "inverse_frequency_weights": "metrics",
    "is_referable": "grades",
    "is_sight_threatening": "grades",
    "kappa_scorer": "metrics",
    "list_backbones": "plugins",
    "list_heads": "plugins",
    "list_preprocessors": "plugins",
    "load": "saving.bundle",
    "load_image_folder": "data.loaders",
    "load_image_table": "data.loaders",
    "load_images": "data.loaders",
    "macro_auc": "proba_metrics",
    "make_fundus": "data.synthetic",
    "make_kappa_scorer": "metrics",
    "operating_point": "reporting.operating_points",
    "optimal_cutpoints": "cutpoints",
    "paired_difference": "reporting.comparison",
    "patient_grades": "grades",
    "quadratic_weighted_kappa": "metrics",
    "ranked_probability_score": "proba_metrics",
    "screening_report": "reporting.screening",
}

__all__ = sorted(_ROOMS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'fundus' has no attribute {name!r}")
    value = getattr(import_module(f"fundus.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
