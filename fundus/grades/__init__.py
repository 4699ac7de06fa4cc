"""Grades on their ordered scale: the ICDR scale, labels, severity and cutpoints."""

from fundus.grades.icdr import (
    GRADE_NAMES,
    N_GRADES,
    REFERABLE_DME,
    REFERABLE_GRADE,
    SIGHT_THREATENING_GRADE,
    is_referable,
    is_sight_threatening,
    patient_grades,
)

__all__ = [
    "GRADE_NAMES",
    "N_GRADES",
    "REFERABLE_DME",
    "REFERABLE_GRADE",
    "SIGHT_THREATENING_GRADE",
    "is_referable",
    "is_sight_threatening",
    "patient_grades",
]
