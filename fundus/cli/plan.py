"""``fundus plan``: what ``fundus train`` with the same options would compute and keep."""

from __future__ import annotations

import fundus.cli.options as opt
from fundus.cli.screen import Screen
from fundus.cli.settings import Settings


def plan(
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
    batch_size: opt.BatchSize = 16,
    epochs: opt.Epochs = 40,
    augment: opt.Augment = False,
    class_folders: opt.ClassFolders = None,
    grades: opt.GradesOption = None,
    image_dir: opt.ImageDir = None,
    path_column: opt.PathColumn = None,
    grade_column: opt.GradeColumn = None,
    patient_column: opt.PatientColumn = None,
    patients_unknown: opt.PatientsUnknownOption = opt.PatientsUnknown.WARN,
    on_error: opt.OnErrorOption = opt.OnError.RAISE,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
) -> None:
    """Say what a training on all images would compute and keep, and how long that takes.

    Two batches are run and kept, so that the time can be told; nothing is trained.
    """
    show_plan_of(
        Settings(
            **locals(),
            learning_rate="auto",
            class_weight=opt.ClassWeight.BALANCED,
            sampling=None,
            folds=2,
            calibrate=opt.Calibrate.NONE,
            cutpoints=False,
            sensitivity=0.9,
            specificity=0.9,
            alpha=0.1,
            seed=0,
            jobs=1,
            validation=None,
            out=None,
            quiet=False,
        )
    )


def show_plan_of(settings: Settings) -> None:
    """Plan a training, and print the plan.

    Parameters
    ----------
    settings : Settings
    """
    from fundus.cli.results import describe
    from fundus.cli.training import load_data, make_classifier
    from fundus.transfer.plan import plan_table

    screen = Screen(json=settings.json)
    classifier = make_classifier(settings, verbose=False)
    graded, _ = load_data(settings)
    screen.note(describe(graded))
    found = classifier.plan(graded.frame)
    screen.emit(found.to_dict())
    screen.show(plan_table(found))
