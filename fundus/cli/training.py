"""The stages of ``fundus train`` before its results: the classifier, the data, the folds."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import fundus.cli.options as opt
from fundus.cli.data import ColumnOptions, check_columns, folder_options, load_graded
from fundus.cli.resume import FOLDS
from fundus.cli.runs import INTERRUPTED, LOGS
from fundus.exceptions import DataWarning

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from fundus.cli.choosing import Chosen
    from fundus.cli.engine import OfARun
    from fundus.cli.settings import Settings
    from fundus.meta.ensemble import FoldEnsemble
    from fundus.transfer.classifier import TransferClassifier


def make_classifier(chosen: Chosen, *, verbose: bool) -> TransferClassifier:
    """Make the classifier, and check its parameters before any image is read.

    Parameters
    ----------
    chosen : Chosen
    verbose : bool
        Whether progress is shown.

    Returns
    -------
    TransferClassifier
        Not fitted.

    Raises
    ------
    UnknownNameError
        If no backbone, head or photometric step has the name.
    InvalidParameterError
        If a parameter cannot be used.
    typer.BadParameter
        If both ``--cutpoints`` and ``--calibrate`` are given.
    """
    settings = chosen.settings
    if settings.cutpoints and settings.calibrate is not opt.Calibrate.NONE:
        raise typer.BadParameter(
            "it cannot go with --calibrate, whose prediction is the most probable grade, not the "
            "one that cutpoints give: leave one of them out.",
            param_hint="--cutpoints",
        )
    from fundus.frozen.prepare import resolve_network
    from fundus.frozen.steps import choose_steps
    from fundus.recipes.grader import make_classifier as classifier_of
    from fundus.transfer.parameters import Parameters

    classifier = classifier_of(
        chosen.values,
        cache=True if settings.cache_dir is None else settings.cache_dir,
        random_state=settings.seed,
        # bars of several processes would overwrite each other
        verbose=int(verbose and settings.jobs == 1),
    )
    frozen = Parameters.of(classifier).frozen
    network = resolve_network(frozen, seed=settings.seed)
    choose_steps(frozen, network.spec)
    return classifier


def load_data(settings: Settings) -> tuple[Bunch, Bunch | None]:
    """Load the images to train on and those for validation.

    Returns
    -------
    graded : Bunch
    held_back : Bunch or None

    Warns
    -----
    DataWarning
        If a patient is in both.
    """
    columns = ColumnOptions(
        settings.image_dir, settings.path_column, settings.grade_column, settings.patient_column
    )
    check_columns(columns, settings.data, settings.validation)
    graded = load_graded(
        settings.data,
        **opt.as_scale(settings.grades, settings.class_folders),
        on_error=settings.on_error.value,
        columns=columns,
        patients_unknown=settings.patients_unknown.value,
    )
    if settings.validation is None:
        return graded, None
    held_back = load_graded(
        settings.validation,
        **folder_options(graded.class_names),
        on_error=settings.on_error.value,
        columns=columns,
        patients_unknown=settings.patients_unknown.value,
        min_classes=1,
    )
    _warn_of_shared_patients(graded, held_back)
    return graded, held_back


def _warn_of_shared_patients(graded: Bunch, held_back: Bunch) -> None:
    if not (graded.patients_known and held_back.patients_known):
        return
    shared = sorted(set(graded.patients) & set(held_back.patients))
    if shared:
        warnings.warn(
            f"{len(shared)} patients, such as {shared[0]!r}, are both among the training images "
            "and in --validation, whose scores are then too good: hold back whole patients.",
            DataWarning,
            stacklevel=3,
        )


def fit_folds(
    classifier: TransferClassifier,
    graded: Bunch,
    settings: Settings,
    run: Path,
    engine: OfARun | None = None,
) -> FoldEnsemble:
    """Fit one model per fold; neural heads log into the run's folder.

    On the workers of an engine, which may have other disks, they neither log nor keep epochs.
    """
    from fundus.meta.ensemble import FoldEnsemble

    ensemble = FoldEnsemble(
        make_model(classifier, graded, settings, run / LOGS if engine is None else None),
        cv=settings.folds,
        n_jobs=settings.jobs if engine is None else -1,
        random_state=settings.seed,
        resume_dir=run / INTERRUPTED / FOLDS if engine is None else None,
    )
    with nullcontext() if engine is None else engine.folds(ensemble):
        return ensemble.fit(graded.frame, graded.grades)


def make_model(
    classifier: TransferClassifier, graded: Bunch, settings: Settings, logs: Path | None
) -> Any:
    """Return the model of a fold, not fitted: the classifier, calibrated or with cutpoints."""
    from sklearn.base import clone

    from fundus.heads.base import NeuralHead
    from fundus.transfer.parameters import Parameters

    neural = isinstance(Parameters.of(classifier).head, NeuralHead)
    classifier = clone(classifier).set_params(
        grades=graded.n_grades, log_dir=logs if neural else None
    )
    model: Any = classifier
    if settings.calibrate is not opt.Calibrate.NONE:
        from fundus.meta.calibration import CumulativeCalibratedClassifierCV

        model = CumulativeCalibratedClassifierCV(
            classifier, method=settings.calibrate.value, random_state=settings.seed
        )
    if settings.cutpoints:
        from fundus.recipes.grader import with_cutpoints

        values = {
            "cutpoints": True,
            "distribution": settings.distribution.value,
            "n_bootstraps": settings.bootstraps,
        }
        model = with_cutpoints(classifier, values, random_state=settings.seed)
    return model
