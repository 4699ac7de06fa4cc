"""The options of ``fundus train`` and ``fundus plan``, each declared once."""

# ruff: noqa: RUF009 - what the functions return are dataclass fields

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import fundus.cli.options as opt
from fundus.cli.options import MODEL, SCORES, TRAINING, option
from fundus.recipes.table import DEFAULT, RECIPES


def parameter(
    default: Any,
    read: Callable[[Any], Any] | None = None,
    write: Callable[[Any], Any] | None = None,
    *,
    key: str | None = None,
) -> Any:
    """Declare an option that a recipe may decide; it is ``None`` where it is not given.

    Parameters
    ----------
    default : object
        As it would be given: what it is where the recipe does not say.
    read : callable, default=None
        Makes the value that a recipe would have of the one that was given.
    write : callable, default=None
        The reverse.
    key : str, default=None
        Its name in recipes, if not the option's own.
    """

    def same(value: Any) -> Any:
        return value

    more = {"default": default, "read": read or same, "write": write or same, "key": key}
    return field(default=None, metadata=more)


def parameters() -> list[Field[Any]]:
    """Return the options that a recipe may decide."""
    return [f for f in fields(Settings) if "read" in f.metadata]


def key_of(option: Field[Any]) -> str:
    """Return the name in recipes of an option that a recipe may decide."""
    return option.metadata["key"] or option.name


def of_training(default: Any) -> Any:
    """Declare an option that ``fundus plan`` does not have, which does not depend on it."""
    return field(default=default, metadata={"plan": False})


def _value(choice: Enum | None) -> Any:
    return None if choice is None else opt.or_none(choice.value)


def _named(kind: type[Enum]) -> Callable[[Any], Any]:
    """Return what makes the choice of a value, of which ``None`` is called "none"."""
    return lambda value: kind(value or "none")


def _or_none_text(value: Any) -> str:
    return "none" if value is None else str(value)


@dataclass(frozen=True)
class Settings:
    """The options of `train`; a new one is declared here and nowhere else."""

    data: opt.Data
    recipe: Annotated[
        str,
        option(
            f"Set of values for what follows: {', '.join(RECIPES)}. An option that is given "
            "replaces that value alone; what the rest cannot use is left out, and told.",
            MODEL,
        ),
    ] = DEFAULT
    backbone: opt.Backbone = parameter("efficientnet_lite0")
    head: Annotated[str, option("Name that 'fundus heads' lists.", MODEL)] = parameter("softmax")
    weights: opt.Weights = parameter("imagenet", opt.or_none, _or_none_text)
    image_size: Annotated[
        int | None,
        option("Edge of the square input in pixels; 0 is the backbone's own.", MODEL, min=0),
    ] = parameter(None, lambda pixels: pixels or None)
    crop: Annotated[
        opt.Crop, option("Crop to the field of view, pad to a square, or squash.", MODEL)
    ] = parameter(opt.Crop.FOV, _value, _named(opt.Crop))
    aperture: Annotated[
        opt.Aperture,
        option(
            "Keep the largest disc in the middle of the field of view, with the same black "
            "border for all cameras: circle; or none.",
            MODEL,
        ),
    ] = parameter(opt.Aperture.NONE, _value, _named(opt.Aperture))
    photometric: Annotated[
        str,
        option(
            "What changes light and colour before the network's own scale: none, ben_graham, "
            "clahe, corpus_mean, green, grey_world, image_mean, or a plugin's.",
            MODEL,
        ),
    ] = parameter("none", opt.or_none, _or_none_text)
    freeze: Annotated[
        str,
        option(
            "Initial layers that are not trained: all, the first n (10), a fraction (0.5), "
            "those up to a named one, or 0.",
            MODEL,
        ),
    ] = parameter("all", opt.as_freeze, str)
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
    ] = parameter("auto")
    stages: Annotated[
        str | None,
        option(
            "Stages of a multilevel pooling, by number from 0 or name: 0,2 or as a slice, :-1 "
            "for all but the last, : for all.",
            MODEL,
        ),
    ] = parameter(None, opt.as_stages, opt.stages_as_given)
    power: Annotated[
        float | None,
        option("Exponent of the features, in (0, 1]; 0.5 is the signed square root.", MODEL),
    ] = parameter(None)
    learning_rate: Annotated[
        str,
        option(
            "auto is 1e-5 where the backbone is trained, 1e-4 after a warm-up, else 1e-3.", TRAINING
        ),
    ] = parameter("auto", opt.as_learning_rate, str)
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
    augmentation: Annotated[
        opt.Augmentation,
        option(
            "How training images are changed at random: not, by warps, or as photographs of other "
            "cameras differ.",
            TRAINING,
        ),
    ] = parameter(opt.Augmentation.NONE, lambda given: given.value, opt.Augmentation, key="augment")
    augment: Annotated[
        bool | None,
        option(
            "The same as --augmentation warp, or none.",
            TRAINING,
            "--augment/--no-augment",
            show_default=False,
        ),
    ] = None
    augment_views: Annotated[
        int,
        option(
            "Changed views of each training image, made once and kept; 0 for new ones in every "
            "epoch, which only a neural head can use.",
            TRAINING,
            min=0,
        ),
    ] = parameter(0, lambda number: number or None, lambda number: number or 0)
    head_alpha: Annotated[
        float | None,
        option(
            "Strength of the head's penalty, for heads with an alpha, such as ridge; by default "
            "the head's own.",
            TRAINING,
            min=0,
            show_default=False,
        ),
    ] = parameter(None, key="head__alpha")
    view_strength: Annotated[
        float,
        option(
            "How much smaller features are made that vary among the views of an image; of heads "
            "that are linear in the features, such as ridge and logistic.",
            TRAINING,
            min=0,
        ),
    ] = parameter(0.0, key="head__view_strength")
    class_weight: Annotated[opt.ClassWeight, option("Weight of each grade.", TRAINING)] = parameter(
        opt.ClassWeight.BALANCED, _value, _named(opt.ClassWeight)
    )
    sampling: Annotated[
        opt.Sampling | None,
        option(
            "Repeat training images at random until every grade has as many as the most "
            "frequent, or leave out until as few as the rarest; weights then count what was drawn.",
            TRAINING,
        ),
    ] = parameter(None, _value, lambda value: None if value is None else opt.Sampling(value))
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
    ] = parameter(False)
    distribution: Annotated[
        opt.Distribution,
        option(
            "What cutpoints are best for: the severities themselves, or normal distributions "
            "fitted to those of each grade, which is steadier and suits regressors.",
            SCORES,
        ),
    ] = parameter(opt.Distribution.EMPIRICAL, _value, _named(opt.Distribution))
    bootstraps: Annotated[
        int,
        option(
            "Resamples of which the cutpoints are the median; 0 takes the best of all images.",
            SCORES,
            min=0,
        ),
    ] = parameter(0, key="n_bootstraps")
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
    audit: Annotated[
        bool,
        option(
            "Look for copies, near duplicates, doubtful labels and poor photographs among the "
            "images, from what the training has computed; about a tenth of a second of a processor "
            "for each.",
            SCORES,
            "--audit/--no-audit",
        ),
    ] = of_training(True)
    maps: Annotated[
        bool,
        option(
            "Put beside each photograph of the contact sheets the map of the severity by the "
            "model that did not see it, where maps are exact; some seconds more.",
            opt.FIGURES,
            "--maps/--no-maps",
        ),
    ] = of_training(True)
    figure_format: opt.FigureFormatOption = of_training(opt.FigureFormat.PNG)
    dpi: opt.Dpi = of_training(opt.DPI)
    seed: Annotated[int, option("Seed of all random choices.", TRAINING, min=0)] = of_training(0)
    jobs: Annotated[
        int, option("Folds trained at a time, each in its own process.", TRAINING, min=1)
    ] = of_training(1)
    engine: Annotated[
        opt.EngineName | None,
        option("Run frozen layers, or train folds, on workers of dask or ray.", TRAINING),
    ] = of_training(None)
    scheduler: Annotated[
        str | None,
        option("Address of the engine; otherwise --jobs workers start on this machine.", TRAINING),
    ] = of_training(None)
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

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        not_kept = ("json", "quiet", "resume", "augment")
        plain_values = {k: plain(v) for k, v in asdict(self).items() if k not in not_kept}
        return plain_values | {"grades": opt.as_grades(self.grades)}


def plain(value: Any) -> Any:
    """Return the value of an option as a JSON value."""
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def values_by_recipe(name: str) -> dict[str, Any]:
    """Return the options that a recipe may decide as JSON values, where none is given."""
    values = RECIPES[name].values
    return {
        own.name: plain(
            own.metadata["write"](values[key_of(own)])
            if key_of(own) in values
            else own.metadata["default"]
        )
        for own in parameters()
    }


def in_words(value: Any) -> str:
    """Return the value of an option as text for people.

    Examples
    --------
    >>> in_words(True), in_words(1.0), in_words(None), in_words(opt.Crop.FOV)
    ('yes', '1.0', '-', 'fov')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(plain(value))
