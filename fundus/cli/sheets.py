"""Contact sheets of ``fundus train`` and ``evaluate``, each with the table it is made from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fundus.cli.data import files_of
from fundus.cli.files import FigureFiles, write_csv
from fundus.reporting.sheets import SHEETS, contact_sheets

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from fundus.reporting.evaluated import Evaluation

#: What the tables hold.
TABLES = {
    "errors": "all photographs that are graded wrong, the worst first",
    "uncertain": "all photographs, the least certain first",
}
#: Header rows of the tables.
HEADER = r"file,target,prediction,error(,severity,severity_error)?(,margin)?(,fold)?(,grades_set)?"


def write_sheets(
    evaluation: Evaluation,
    graded: Bunch,
    files: FigureFiles,
    *,
    title: str,
    model: Any = None,
    plain_text: bool = False,
) -> dict[str, str]:
    """Write the sheets and their tables, and return the description of each file by its name.

    Parameters
    ----------
    evaluation : Evaluation
    graded : Bunch
        The photographs that were evaluated.
    files : FigureFiles
    title : str
    model : classifier, default=None
        Puts its maps beside the photographs.
    plain_text : bool, default=False
        As in `write_csv`.
    """
    named = replace(evaluation, names=tuple(files_of(graded)), title=title)
    written = {}
    for by, sheet in contact_sheets(named, graded.paths, model=model).items():
        table = files.path(f"{by}.csv")
        write_csv(named.ranked(by).drop(columns="row"), table, plain_text=plain_text)
        written[files.write(sheet.figure_, by)] = SHEETS[by]
        written[table.name] = TABLES[by]
    return written
