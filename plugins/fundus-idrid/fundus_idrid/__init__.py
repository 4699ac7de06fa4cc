"""A ready grader for fundus-zoo, trained on the photographs of IDRiD."""

from __future__ import annotations

from pathlib import Path

from fundus.hookspecs import ModelScore, ModelSpec, hookimpl

fundus_api = 1

#: SHA-256 of ``model/manifest.json``; ``make_model.py`` prints it.
DIGEST = "28ef37073d1a1297f6c66f0286f542e157a0f29fe521e69253d2b5d3b50a0442"

_SECOND = "second camera: 293 photographs of 147 patients of another clinic"
_EVALUATED = "fundus evaluate idrid second_camera/labels.csv"

SPEC = ModelSpec(
    name="idrid",
    description="make_grader(random_state=0), trained on 369 photographs of IDRiD: five grades",
    folder=Path(__file__).resolve().parent / "model",
    licence="CC BY 4.0",
    training_data=(
        "369 of the training photographs of the Indian Diabetic Retinopathy Image Dataset "
        "(IDRiD), CC BY 4.0, resized to 512 pixels (longer side, JPEG quality 92), missing or "
        "duplicate ones left out: one camera (Kowa VX-10 alpha, 50 degrees) of one clinic in "
        "India. Patients are unknown. Cutpoints, and the thresholds for referral, are from "
        "severities of photographs by models that had not seen them (5 folds). Each pixel ran "
        "through EfficientNet-Lite0 with ImageNet's weights (Apache-2.0), which are not in here."
    ),
    intended_use=(
        "Research and teaching: a grader to start from, to compare with, to adapt to a site's own "
        "photographs (fundus adapt), and to try the library with, without a training."
    ),
    limits=(
        "Not for diagnosis, screening or any decision about a patient.",
        "It knows one camera of one clinic. On the one other camera that was tried its kappa is "
        "0.752, not 0.836, and it sends 18 % of the photographs without referable disease to "
        "referral; another camera may be worse. Score it on graded photographs of your own first.",
        "Its good figures are optimistic: the second camera chose the recipe among some 120 "
        "settings, and IDRiD trained it and chose the recipe too. The one set that chose nothing "
        "is of thumbnails of 28 pixels, where it is at chance.",
        "It grades whatever it is given: other eyes' diseases, photographs out of focus, pictures "
        "that are no retina. It does not say that it does not know.",
        "Grades 3 and 4 are few in what it was scored on: 24 photographs of the second camera.",
        "Macular oedema is not graded, and does not count as referable here.",
        "Photographs need a few hundred pixels: lesions are lost in smaller ones, and it grades "
        "them all the same.",
    ),
    citation=(
        "P. Porwal et al., Indian Diabetic Retinopathy Image Dataset (IDRiD), Data 3(3):25, 2018, "
        "doi:10.3390/data3030025"
    ),
    scores=(
        ModelScore(
            score="quadratic weighted kappa",
            value=0.752, low=0.666, high=0.820,
            photographs=_SECOND,
            chose="the recipe",
            source="docs/choosing-a-model.md, row 'default recipe': of exactly this grader",
        ),
        ModelScore(
            score="ROC AUC, referable (grade 2 or more)",
            value=0.927, low=0.886, high=0.961,
            photographs=_SECOND,
            chose="the recipe",
            source=_EVALUATED,
        ),
        ModelScore(
            score="sensitivity for referable, at the threshold it comes with",
            value=0.865, low=0.782, high=0.937,
            photographs=_SECOND,
            chose="the recipe",
            source=_EVALUATED,
        ),
        ModelScore(
            score="specificity for referable, at the same threshold",
            value=0.819, low=0.745, high=0.880,
            photographs=_SECOND,
            chose="the recipe",
            source=_EVALUATED,
        ),
        ModelScore(
            score="quadratic weighted kappa, of models of the same recipe on four fifths each",
            value=0.836, low=0.803, high=0.865,
            photographs="IDRiD: the 369 training photographs, out of fold; mean of three seeds",
            chose="the recipe",
            source="docs/choosing-a-model.md, row 'default recipe': not of this very model",
        ),
        ModelScore(
            score="quadratic weighted kappa",
            value=-0.007, low=-0.037, high=0.024,
            photographs="RetinaMNIST: 1,200 thumbnails of 28 px, patients unknown",
            chose="nothing",
            source="the lines in plugins/fundus-idrid/README.md",
        ),
    ),
    digest=DIGEST,
)  # fmt: skip


@hookimpl
def fundus_models():
    """Return the grader."""
    return [SPEC]
