"""What `fundus train` decided with a model, which ``model.json`` keeps under ``about``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fundus.meta.conformal_sets import ConformalRule
from fundus.metrics.operating_points import OperatingPoint
from fundus.saving.meta import with_rule


def decided_record(model: Any) -> dict[str, Any]:
    """Turn the attributes that a model has of them into JSON values."""
    points = getattr(model, "operating_points_", None)
    found = {
        "class_names": getattr(model, "class_names_", None),
        "operating_points": points
        and {name: [point.to_dict() for point in chosen] for name, chosen in points.items()},
        "with_dme": getattr(model, "referable_with_dme_", None),
    }
    return {name: value for name, value in found.items() if value is not None}


def with_decided(model: Any, about: dict[str, Any]) -> Any:
    """Set what ``about`` says as attributes; a former release kept the rule for sets there too."""
    if about.get("conformal"):
        scores = tuple(np.array(s, dtype=np.float64) for s in about["conformal"]["scores"])
        rule = ConformalRule(about["conformal"]["alpha"], scores)
        model = with_rule(model, model.ballot(), rule, prefit=False)
    if about.get("class_names"):
        model.class_names_ = list(about["class_names"])
    if about.get("operating_points") is not None:
        model.operating_points_ = {
            name: [OperatingPoint(**point) for point in points]
            for name, points in about["operating_points"].items()
        }
    if about.get("with_dme") is not None:
        model.referable_with_dme_ = about["with_dme"]
    return model
