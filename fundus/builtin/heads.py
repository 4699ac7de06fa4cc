"""The heads that ship with the library."""

from __future__ import annotations

from fundus.heads.neural import ReluHead, SoftmaxHead
from fundus.heads.ordinal import CoralHead, CornHead, SoftLabelHead
from fundus.heads.ordinal_estimators import OrdinalLogisticHead
from fundus.heads.ordinal_ridge import OrdinalRidgeHead
from fundus.heads.sklearn_heads import LogisticHead, RidgeHead, SVMHead
from fundus.hookspecs import HeadSpec, hookimpl


@hookimpl
def fundus_heads() -> list[HeadSpec]:
    """Return the built-in heads."""
    return [
        HeadSpec(
            name="softmax",
            make=SoftmaxHead,
            description="Dense layers and a softmax over the grades (Keras).",
        ),
        HeadSpec(
            name="relu",
            make=ReluHead,
            description="Dense layers and one ReLU output on the grade axis (Keras).",
        ),
        HeadSpec(
            name="svm",
            make=SVMHead,
            description="Support vector machine with calibrated probabilities, frozen features.",
        ),
        HeadSpec(
            name="logistic",
            make=LogisticHead,
            description="Multinomial logistic regression, frozen features.",
        ),
        HeadSpec(
            name="ridge",
            make=RidgeHead,
            description="Ridge regression on the grade axis, frozen features.",
        ),
        HeadSpec(
            name="ordinal_logistic",
            make=OrdinalLogisticHead,
            description="Penalised proportional odds (cumulative logit), frozen features.",
        ),
        HeadSpec(
            name="ordinal_ridge",
            make=OrdinalRidgeHead,
            description="Ridge regression with fitted thresholds, frozen features.",
        ),
        HeadSpec(
            name="corn",
            make=CornHead,
            description="CORN: conditional probabilities of the next grade (Keras).",
        ),
        HeadSpec(
            name="coral",
            make=CoralHead,
            description="CORAL: one score with ordered biases (Keras).",
        ),
        HeadSpec(
            name="soft_labels",
            make=SoftLabelHead,
            description="Softmax on Gaussian soft labels (Keras).",
        ),
    ]
