"""``fundus audit``: finds copies, doubtful labels and poor photographs in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from fundus.audit.report import Audit
    from fundus.cli.files import FigureFiles

#: Name of a column that marks labels on which graders disagree.
DISPUTED = "disputed"
#: Header row of the results.
HEADER = (
    "file,grade,patient,issues,fov_share,brightness,sharpness,reason,duplicate_of,"
    "near_duplicate_of,correlation,self_confidence,likely_grade,severity"
)
#: Contact sheets, and the header row of the table of each.
SHEETS = {
    "suspects": "file,kind,grade,likely_grade,self_confidence,severity,issues,fov_share,"
    "brightness,sharpness",
    "pairs": "file,other_file,what,correlation,grade,other_grade,patient,other_patient,"
    "grades_differ,across_patients",
}


def audit(
    data: opt.Data,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File for one row per image.", dir_okay=False),
    ] = Path("audit.csv"),
    backbone: opt.Backbone = "efficientnet_lite0",
    weights: opt.Weights = "imagenet",
    image_size: opt.ImageSize = None,
    head: Annotated[
        str, typer.Option(help="Head whose out-of-fold probabilities are compared with the labels.")
    ] = "logistic",
    folds: Annotated[
        int, typer.Option(help="Folds for the labels; 0 leaves labels out.", min=0)
    ] = 5,
    near_duplicates: Annotated[
        bool,
        typer.Option(
            "--near-duplicates/--no-near-duplicates",
            help="Look for nearly identical images, which takes longest.",
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.", min=0)] = 0,
    class_folders: opt.ClassFolders = None,
    grades: opt.GradesOption = None,
    figure_format: opt.FigureFormatOption = opt.FigureFormat.PNG,
    dpi: opt.Dpi = opt.DPI,
    image_dir: opt.ImageDir = None,
    path_column: opt.PathColumn = None,
    grade_column: opt.GradeColumn = None,
    patient_column: opt.PatientColumn = None,
    patients_unknown: opt.PatientsUnknownOption = opt.PatientsUnknown.WARN,
    force: opt.Force = False,
    plain_text: opt.PlainText = False,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Look for copies, doubtful labels and poor photographs; change nothing."""
    import warnings

    from fundus.audit.images import audit_images
    from fundus.cli.audited import with_skipped, write_audit_sheets
    from fundus.cli.data import ColumnOptions, check_columns, guess_of, load_graded
    from fundus.cli.files import FigureFiles, write_csv
    from fundus.cli.outputs import claim, read_of
    from fundus.exceptions import SetAsideWarning
    from fundus.runtime.whole import is_stream
    from fundus.transfer.features import FeatureExtractor

    screen = Screen(json=json, quiet=quiet)
    columns = ColumnOptions(image_dir, path_column, grade_column, patient_column)
    check_columns(columns, data)
    with warnings.catch_warnings():
        # they are in the table and the CSV
        warnings.simplefilter("ignore", SetAsideWarning)
        loaded = load_graded(
            data,
            **opt.as_scale(grades, class_folders),
            on_error=opt.OnError.SKIP.value,
            columns=columns,
            min_classes=1,
            patients_unknown=patients_unknown.value,
        )
    if guess := guess_of(loaded):
        screen.note(guess)
    read = read_of([data], loaded, Path(weights))
    drawn = None
    if not is_stream(out):
        drawn = FigureFiles(
            lambda name: out.with_name(f"{out.stem}-{name}"), figure_format.value, dpi
        )
    claim(_outputs(out, drawn), read, screen, force=force, option="--out")
    cache: Any = True if cache_dir is None else cache_dir
    found = audit_images(
        loaded.paths,
        loaded.grades,
        loaded.patients if loaded.patients_known else None,
        grades=loaded.n_grades,
        extractor=FeatureExtractor(
            backbone,
            weights=opt.or_none(weights),
            image_size=image_size,
            cache=cache,
            random_state=seed,
            verbose=int(not screen.silent),
        ),
        head=head,
        cv=folds or None,
        near_duplicates=near_duplicates,
        cache=cache,
        random_state=seed,
        verbose=int(not screen.silent),
    )
    disputed = _disputed(found, loaded)
    whole = with_skipped(found, loaded)
    write_csv(whole.images.rename(columns={"path": "file"}), out, plain_text=plain_text)
    sheets = {}
    if drawn is not None:
        sheets = write_audit_sheets(whole, loaded, drawn, plain_text=plain_text)
    results = {"results": str(out), **whole.to_dict(), "disputed": disputed, "sheets": sheets}
    screen.emit(results)
    screen.show(whole.to_table())
    if disputed:
        screen.show(
            f"{disputed['found']} of {disputed['n_marked']} labels marked as disputed are among "
            f"the {disputed['n_top']} most suspect (95 % interval of the share "
            f"{disputed['low']:.2f}-{disputed['high']:.2f}); {disputed['expected']:.1f} would be "
            f"by chance (hypergeometric p = {disputed['p_value']:.2g}). Neither list is a list of "
            "errors."
        )
    screen.show(f"A row for each image: {out}")
    if drawn is None:
        screen.note(
            f"No contact sheets are drawn, as {str(out)!r} is no file to write them beside."
        )
    screen.show(*(f"  {name}  {what}" for name, what in sheets.items()))


def _outputs(out: Path, drawn: FigureFiles | None) -> list[tuple[Path, Any]]:
    """Every file that the command writes, and how its own files are recognised."""
    from fundus.cli.outputs import figure, table

    outputs: list[tuple[Path, Any]] = [(out, table(HEADER))]
    if drawn is not None:
        for which, header in SHEETS.items():
            outputs.append((drawn.path(f"{which}.{drawn.suffix}"), figure))
            outputs.append((drawn.path(f"{which}.csv"), table(header)))
    return outputs


def _disputed(found: Audit, loaded: Bunch) -> dict[str, Any] | None:
    """Return how many disputed labels are suspect, if a table marks them."""
    if DISPUTED not in loaded.frame.columns or found.images["self_confidence"].isna().all():
        return None
    return found.enrichment(loaded.frame[DISPUTED].fillna(0).astype(bool).to_numpy())
