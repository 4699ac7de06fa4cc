"""``fundus train``: cross-validate a backbone and a head, and keep the models of all folds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen
from fundus.cli.settings import Settings

_SCORES = "Scores"


def train(
    data: opt.Data,
    backbone: opt.Backbone = "efficientnet_lite0",
    head: opt.Head = "softmax",
    weights: opt.Weights = "imagenet",
    image_size: opt.ImageSize = None,
    crop: opt.CropOption = opt.Crop.FOV,
    photometric: opt.Photometric = "none",
    freeze: opt.Freeze = "all",
    pooling: opt.Pooling = "avg",
    power: opt.Power = None,
    learning_rate: opt.LearningRate = "auto",
    batch_size: opt.BatchSize = 16,
    epochs: opt.Epochs = 40,
    augment: opt.Augment = False,
    class_weight: Annotated[
        opt.ClassWeight,
        typer.Option(help="Weight of each grade.", rich_help_panel=opt.TRAINING),
    ] = opt.ClassWeight.BALANCED,
    sampling: opt.SamplingOption = None,
    folds: Annotated[
        int,
        typer.Option(help="Folds of the cross-validation.", min=2, rich_help_panel=opt.TRAINING),
    ] = 5,
    calibrate: Annotated[
        opt.Calibrate,
        typer.Option(
            help="Calibrate probabilities inside every fold, on 5 inner folds: six fits for one.",
            rich_help_panel=_SCORES,
        ),
    ] = opt.Calibrate.NONE,
    cutpoints: Annotated[
        bool,
        typer.Option(
            "--cutpoints/--no-cutpoints",
            help="Cut severities into grades where kappa is best on 5 inner folds: six fits for "
            "one. Not together with --calibrate.",
            rich_help_panel=_SCORES,
        ),
    ] = False,
    sensitivity: Annotated[
        float,
        typer.Option(
            help="Choose an operating point of this sensitivity.",
            min=0.01,
            max=1.0,
            rich_help_panel=_SCORES,
        ),
    ] = 0.9,
    specificity: Annotated[
        float,
        typer.Option(
            help="Choose an operating point of this specificity.",
            min=0.01,
            max=1.0,
            rich_help_panel=_SCORES,
        ),
    ] = 0.9,
    alpha: Annotated[
        float,
        typer.Option(
            help="Share of images whose set of grades may miss the true one.",
            min=0.001,
            max=0.999,
            rich_help_panel=_SCORES,
        ),
    ] = 0.1,
    seed: Annotated[
        int, typer.Option(help="Decides all that is drawn.", min=0, rich_help_panel=opt.TRAINING)
    ] = 0,
    jobs: Annotated[
        int,
        typer.Option(
            help="Folds trained at a time, each in a process of its own.",
            min=1,
            rich_help_panel=opt.TRAINING,
        ),
    ] = 1,
    class_folders: opt.ClassFolders = None,
    grades: opt.GradesOption = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Folder or table of images held back, to be scored by the averaged folds.",
            show_default=False,
        ),
    ] = None,
    image_dir: opt.ImageDir = None,
    path_column: opt.PathColumn = None,
    grade_column: opt.GradeColumn = None,
    patient_column: opt.PatientColumn = None,
    patients_unknown: opt.PatientsUnknownOption = opt.PatientsUnknown.WARN,
    on_error: opt.OnErrorOption = opt.OnError.RAISE,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New or empty folder for the results; by default runs/<time>.",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Cross-validate a model, and keep the models of all folds."""
    run_training(Settings(**locals()))


def run_training(settings: Settings) -> Path:
    """Train, and write a run's folder.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    Path
        The run's folder.
    """
    from fundus.cli.results import describe, write_run
    from fundus.cli.runs import new_run, remove_if_empty
    from fundus.cli.training import fit_folds, load_data, make_classifier

    started = time.perf_counter()
    screen = Screen(json=settings.json, quiet=settings.quiet)
    classifier = make_classifier(settings, verbose=not screen.silent)
    run = new_run(settings.out)
    try:
        graded, held_back = load_data(settings)
        screen.note(describe(graded))
        model = fit_folds(classifier, graded, settings, run)
        results = write_run(run, model, graded, held_back, settings, started)
    finally:
        remove_if_empty(run)
    screen.emit(results.to_dict())
    screen.show(*results.tables())
    return run
