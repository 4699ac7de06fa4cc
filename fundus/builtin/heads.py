"""The heads that ship with the library, named where they are: listing them imports none."""

from __future__ import annotations

from fundus.hookspecs import HeadSpec, hookimpl


@hookimpl
def fundus_heads() -> list[HeadSpec]:
    """Return the built-in heads."""
    return [
        HeadSpec(
            name="softmax",
            make="fundus.heads.neural:SoftmaxHead",
            description="Dense layers and a softmax over the grades (Keras).",
        ),
        HeadSpec(
            name="relu",
            make="fundus.heads.neural:ReluHead",
            description="Dense layers and one ReLU output on the grade axis (Keras).",
        ),
        HeadSpec(
            name="svm",
            make="fundus.heads.sklearn_heads:SVMHead",
            description="Support vector machine with calibrated probabilities, frozen features.",
        ),
        HeadSpec(
            name="logistic",
            make="fundus.heads.sklearn_heads:LogisticHead",
            description="Multinomial logistic regression, frozen features.",
        ),
        HeadSpec(
            name="ridge",
            make="fundus.heads.sklearn_heads:RidgeHead",
            description="Ridge regression on the grade axis, frozen features.",
        ),
        HeadSpec(
            name="ordinal_logistic",
            make="fundus.heads.ordinal_estimators:OrdinalLogisticHead",
            description="Penalised proportional odds (cumulative logit), frozen features.",
        ),
        HeadSpec(
            name="ordinal_ridge",
            make="fundus.heads.ordinal_ridge:OrdinalRidgeHead",
            description="Ridge regression with fitted thresholds, frozen features.",
        ),
        HeadSpec(
            name="corn",
            make="fundus.heads.ordinal:CornHead",
            description="CORN: conditional probabilities of the next grade (Keras).",
        ),
        HeadSpec(
            name="coral",
            make="fundus.heads.ordinal:CoralHead",
            description="CORAL: one score with ordered biases (Keras).",
        ),
        HeadSpec(
            name="soft_labels",
            make="fundus.heads.ordinal:SoftLabelHead",
            description="Softmax on Gaussian soft labels (Keras).",
        ),
    ]
