"""The answers of the HTTP interface, as OpenAPI describes them."""

from __future__ import annotations

from pydantic import BaseModel, Field

#: Where a grade begins that begins below every severity, so that the grades before it are empty.
LOWEST = -1e6


class PointAnswer(BaseModel):
    """An operating point."""

    condition: str = Field(description="What is referred: referable or sight-threatening.")
    threshold: float = Field(description="Lowest severity that is referred.")
    wanted: str = Field(description="What it was chosen for: sensitivity or specificity.")
    goal: float
    sensitivity: float = Field(description="On the images it was chosen on, out of fold.")
    specificity: float = Field(description="On the images it was chosen on, out of fold.")


class ReferralAnswer(PointAnswer):
    """A decision at an operating point."""

    refer: bool = Field(description="Whether the severity reaches the threshold.")


class FoldsAnswer(BaseModel):
    """What each of the averaged models says."""

    grades: list[int]
    severities: list[float]
    agreeing: int = Field(description="Models whose own grade is that of all together.")


class WarningAnswer(BaseModel):
    """Something that is wrong with a picture."""

    issue: str
    text: str


class QualityAnswer(BaseModel):
    """Measures of a picture, as `fundus audit` has them."""

    fov_share: float = Field(description="Field of view as a share of the padded square.")
    brightness: float = Field(description="Mean green in the field of view, 0-255.")
    sharpness: float = Field(description="Variance of the Laplacian, in thousandths.")


class GradeAnswer(BaseModel):
    """The grade of a photograph."""

    file: str
    width: int
    height: int
    grade: int = Field(description="Position on the scale, 0 for its lowest grade.")
    name: str
    probabilities: list[float] | None = Field(description="Of every grade; they sum to 1.")
    severity: float | None = Field(description="In positions on the scale.")
    set: list[int] | None = Field(description="Conformal set of grades, where the run has one.")
    defer: bool | None = Field(description="Whether the set has several grades.")
    referrals: list[ReferralAnswer] = Field(
        description="At every operating point; the first is the one of fundus predict."
    )
    folds: FoldsAnswer | None = Field(description="Where several models are averaged.")
    warnings: list[WarningAnswer]
    quality: QualityAnswer | None
    notice: str


class ProblemAnswer(BaseModel):
    """What is wrong, why, and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    advice: str
    file: str | None = None


class BatchAnswer(BaseModel):
    """An answer for each photograph, in order."""

    results: list[GradeAnswer | ProblemAnswer]


class MapAnswer(BaseModel):
    """Where on a photograph the model looks: what it uses, not where disease is."""

    of: str
    method: str = Field(description="exact, hirescam or occlusion.")
    value: float = Field(description="What is explained; the map and the bias add up to it.")
    bias: float
    raised: float
    lowered: float
    photograph: str = Field(description="The photograph, upright, as a data URI (JPEG).")
    overlay: str = Field(description="The map over it, as a data URI (PNG, transparent at 0).")


class LimitsAnswer(BaseModel):
    """What the server takes."""

    max_bytes: int
    max_pixels: int
    max_files: int
    max_request: int


class ModelAnswer(BaseModel):
    """What there is to know of the model."""

    name: str
    fundus: str = Field(description="Release of fundus-zoo.")
    notice: str
    grades: list[str]
    image_size: int
    folds: int | None
    cutpoints: list[float | None] | None = Field(
        description="Severity at which each grade but the first begins: -1000000 where it begins "
        "below every severity, so that the grades before it are never given, and null where it "
        "begins nowhere, so that it is never given itself."
    )
    confidence_level: float | None
    operating_points: list[PointAnswer]
    limits: LimitsAnswer


class HealthAnswer(BaseModel):
    """Whether the server can grade."""

    status: str
    waiting: int
