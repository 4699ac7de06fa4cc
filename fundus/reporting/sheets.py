"""The contact sheets that an evaluation can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fundus.data.inputs import is_image_data
from fundus.exceptions import DataWarning, warn_caller
from fundus.reporting.displays.contact_sheet import ContactSheetDisplay
from fundus.reporting.ranking import RANKINGS, margin_rule

if TYPE_CHECKING:
    from fundus.reporting.evaluated import Evaluation

#: Photographs on a sheet of the command line.
N_DRAWN = 16
#: What the sheet and the table of a ranking hold, by its name.
SHEETS = {
    "errors": "the photographs that are graded worst",
    "uncertain": "the photographs of whose grades the model is least certain",
}


def contact_sheets(
    evaluation: Evaluation, images: Any, *, n: int = N_DRAWN, model: Any = None
) -> dict[str, ContactSheetDisplay]:
    """Draw the sheets that an evaluation can have.

    Parameters
    ----------
    evaluation, images, n, model
        As in `ContactSheetDisplay.from_evaluation`.

    Returns
    -------
    dict of ContactSheetDisplay
        "errors" and, where something tells how certain grades are, "uncertain".

    Warns
    -----
    DataWarning
        If the model was evaluated on numbers, of which there are no photographs to draw, or
        nothing tells how certain it is.
    """
    if not is_image_data(images):
        warn_caller(
            "No contact sheet is drawn, since what was evaluated are numbers, not photographs.",
            DataWarning,
        )
        return {}
    known = list(RANKINGS)
    if margin_rule(evaluation) is None:
        known.remove("uncertain")
        warn_caller(
            "The least certain photographs are not drawn, since the model gives neither "
            "probabilities nor a severity.",
            DataWarning,
        )
    return {
        by: ContactSheetDisplay.from_evaluation(evaluation, images, by=by, n=n, model=model)
        for by in known
    }
