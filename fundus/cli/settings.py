"""The options of ``fundus train`` and ``fundus plan``, each declared once."""

# ruff: noqa: RUF009 - what the functions return are dataclass fields

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import fundus.cli.options as opt
from fundus.cli.options import MODEL, SCORES, TRAINING, option


def parameter(default: Any, read: Callable[[Any], Any] | None = None, *, plan: bool = True) -> Any:
    """Declare an option that `read` converts to a parameter of `TransferClassifier`.

    With `plan`, ``fundus plan`` has it too.
    """
    return field(default=default, metadata={"read": read or (lambda value: value), "plan": plan})


def of_training(default: Any) -> Any:
    """Declare an option that ``fundus plan`` does not have, which does not depend on it."""
    return field(default=default, metadata={"plan": False})


def _value(choice: Enum | None) -> Any:
    return None if choice is None else opt.or_none(choice.value)


@dataclass(frozen=True)
class Settings:
    """The options of `train`; a new one is declared here and nowhere else."""

    data: opt.Data
    backbone: opt.Backbone = parameter("efficientnet_lite0")
    head: Annotated[str, option("Name that 'fundus heads' lists.", MODEL)] = parameter("softmax")
    weights: opt.Weights = parameter("imagenet", opt.or_none)
    image_size: opt.ImageSize = parameter(None)
    crop: Annotated[
        opt.Crop, option("Crop to the field of view, pad to a square, or squash.", MODEL)
    ] = parameter(opt.Crop.FOV, _value)
    aperture: Annotated[
        opt.Aperture,
        option(
            "Keep the largest disc in the middle of the field of view, with the same black "
            "border for all cameras: circle; or none.",
            MODEL,
        ),
    ] = parameter(opt.Aperture.NONE, _value)
    photometric: Annotated[
        str,
        option(
            "What changes light and colour before the network's own scale: none, ben_graham, "
            "clahe, corpus_mean, green, grey_world, image_mean, or a plugin's.",
            MODEL,
        ),
    ] = parameter("none", opt.or_none)
    freeze: Annotated[
        str,
        option(
            "Initial layers that are not trained: all, the first n (10), a fraction (0.5), "
            "those up to a named one, or 0.",
            MODEL,
        ),
    ] = parameter("all", opt.as_freeze)
    pooling: Annotated[
        str,
        option(
            "How maps become a vector: avg, max, avg+max, gem, std or flatten of the last; "
            "multilevel, multilevel_max, multilevel_avg+max or multilevel_std of every stage.",
            MODEL,
        ),
    ] = parameter("avg")
    pool_over: Annotated[
        str,
        option(
            "Positions of a map that are pooled: fov, those in the field of view; all; or auto, "
            "fov where all layers are frozen and the maps have a height and a width.",
            MODEL,
        ),
    ] = parameter("all")
    stages: Annotated[
        str | None,
        option(
            "Stages of a multilevel pooling, by number from 0 or name: 0,2 or as a slice, :-1 "
            "for all but the last; by default all.",
            MODEL,
            show_default=False,
        ),
    ] = parameter(None, opt.as_stages)
    power: Annotated[
        float | None,
        option(
            "Exponent of the features, in (0, 1]; 0.5 is the signed square root.",
            MODEL,
            show_default=False,
        ),
    ] = parameter(None)
    learning_rate: Annotated[
        str,
        option(
            "auto is 1e-5 where the backbone is trained, 1e-4 after a warm-up, else 1e-3.", TRAINING
        ),
    ] = parameter("auto", opt.as_learning_rate, plan=False)
    batch_size: Annotated[int, option("Images per step.", TRAINING, min=1)] = parameter(16)
    epochs: Annotated[int, option("Most passes over the training images.", TRAINING, min=1)] = (
        parameter(40)
    )
    warmup_epochs: Annotated[
        int,
        option(
            "Of these, epochs in which the head learns alone, before the layers that --freeze "
            "leaves are trained gently: lower rates, held normalisations, averaged weights.",
            TRAINING,
            min=0,
        ),
    ] = parameter(0)
    augment: Annotated[
        bool, option("Warp training images at random.", TRAINING, "--augment/--no-augment")
    ] = parameter(False, lambda given: True if given else None)
    class_weight: Annotated[opt.ClassWeight, option("Weight of each grade.", TRAINING)] = parameter(
        opt.ClassWeight.BALANCED, _value, plan=False
    )
    sampling: Annotated[
        opt.Sampling | None,
        option(
            "Repeat training images at random until every grade has as many as the most "
            "frequent, or leave out until as few as the rarest; weights then count what was drawn.",
            TRAINING,
            show_default=False,
        ),
    ] = parameter(None, _value, plan=False)
    folds: Annotated[int, option("Folds of the cross-validation.", TRAINING, min=2)] = of_training(
        5
    )
    calibrate: Annotated[
        opt.Calibrate,
        option(
            "Calibrate probabilities inside every fold, on 5 inner folds: six fits for one.", SCORES
        ),
    ] = of_training(opt.Calibrate.NONE)
    cutpoints: Annotated[
        bool,
        option(
            "Cut severities into grades where kappa is best on 5 inner folds: six fits for one. "
            "Not together with --calibrate.",
            SCORES,
            "--cutpoints/--no-cutpoints",
        ),
    ] = of_training(False)
    sensitivity: Annotated[
        float, option("Choose an operating point of this sensitivity.", SCORES, min=0.01, max=1.0)
    ] = of_training(0.9)
    specificity: Annotated[
        float, option("Choose an operating point of this specificity.", SCORES, min=0.01, max=1.0)
    ] = of_training(0.9)
    alpha: Annotated[
        float,
        option(
            "Share of images whose set of grades may lack the true one.",
            SCORES,
            min=0.001,
            max=0.999,
        ),
    ] = of_training(0.1)
    stress: Annotated[
        bool,
        option(
            "Score photographs changed in tone, resolution and zoom too, out of fold: three more "
            "passes of the network for each.",
            SCORES,
            "--stress/--no-stress",
        ),
    ] = of_training(False)
    seed: Annotated[int, option("Seed of all random choices.", TRAINING, min=0)] = of_training(0)
    jobs: Annotated[
        int, option("Folds trained at a time, each in its own process.", TRAINING, min=1)
    ] = of_training(1)
    class_folders: opt.ClassFolders = None
    grades: opt.GradesOption = None
    validation: Annotated[
        Path | None,
        option(
            "Folder or table of images held back, to be scored by the averaged folds.",
            show_default=False,
        ),
    ] = of_training(None)
    site_column: Annotated[
        str | None,
        option(
            "Column of a table with the site or camera of each image: besides the folds, a model "
            "is trained without each site and scored on it.",
            SCORES,
            show_default=False,
        ),
    ] = of_training(None)
    image_dir: opt.ImageDir = None
    path_column: opt.PathColumn = None
    grade_column: opt.GradeColumn = None
    patient_column: opt.PatientColumn = None
    patients_unknown: opt.PatientsUnknownOption = opt.PatientsUnknown.WARN
    on_error: opt.OnErrorOption = opt.OnError.RAISE
    out: Annotated[
        Path | None,
        option(
            "New or empty folder for the results; by default runs/<time>.",
            show_default=False,
            file_okay=False,
        ),
    ] = of_training(None)
    resume: Annotated[
        bool,
        option(
            "Go on with the run in --out, if it was interrupted: the same options, and the same "
            "result as if it had not been.",
            None,
            "--resume",
        ),
    ] = of_training(False)
    cache_dir: opt.CacheDir = None
    json: opt.Json = False
    quiet: opt.Quiet = of_training(False)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of `TransferClassifier` that are options."""
        return {
            f.name: f.metadata["read"](getattr(self, f.name))
            for f in fields(self)
            if "read" in f.metadata
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""

        def plain(value: Any) -> Any:
            if isinstance(value, Enum):
                return value.value
            return str(value) if isinstance(value, Path) else value

        of_the_screen = ("json", "quiet", "resume")
        plain_values = {k: plain(v) for k, v in asdict(self).items() if k not in of_the_screen}
        return plain_values | {"grades": opt.as_grades(self.grades)}


def command(run: Callable[[Settings], Any], *, plan: bool = False) -> Callable[..., None]:
    """Make a command with the options of `Settings`; its help is the docstring of `run`.

    With `plan`, options that only a training needs are left out and keep their defaults.
    """

    def called(**options: Any) -> None:
        run(Settings(**options))

    types = get_type_hints(Settings, include_extras=True)
    arguments = inspect.signature(Settings).parameters
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            arguments[own.name].replace(annotation=types[own.name])
            for own in fields(Settings)
            if not plan or own.metadata.get("plan", True)
        ]
    )
    called.__annotations__ = types
    called.__doc__ = run.__doc__
    return called
