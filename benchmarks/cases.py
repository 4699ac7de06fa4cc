"""Every process that a benchmark starts: what it does, and for which rows of the table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.inputs import Inputs
from benchmarks.job import Job
from benchmarks.settings import Settings

#: What the groups compare.
GROUPS = {
    "A": "time to the chapter's kappa",
    "B": "the same head, folds and epochs on a frozen backbone",
    "C": "A and B again, with what the first run kept",
    "D": "grid search on frozen features",
    "E": "extraction from large JPEGs",
    "F": "extraction against its limit",
    "G": "fine-tuning with most layers frozen",
    "H": "an ensemble against one of its models",
    "I": "memory at ten times the images",
    "J": "start-up",
    "S": "scikeras in a grid search",
}


@dataclass(frozen=True)
class Case:
    """One process, started afresh for every repeat.

    Parameters
    ----------
    name : str
    groups : str
        Letters of `GROUPS`.
    contender : str
        Module in `benchmarks.contenders`; empty for a bare command.
    job : callable
        Makes the job from the inputs; not called before the case runs.
    repeats : int or None
        ``None`` is what the command line says.
    cache : str
        Name of the `fundus` cache the process uses; a case with `warm` finds what an earlier one
        of that name left, the others an empty one.
    warm : bool
    command : tuple of str
        A bare command.
    """

    name: str
    groups: str
    contender: str = ""
    job: Callable[[Inputs], dict[str, Any]] = field(default=lambda inputs: {})
    repeats: int | None = None
    cache: str = ""
    warm: bool = False
    command: tuple[str, ...] = ()

    def make_job(self, inputs: Inputs) -> Job:
        """Everything the contender is told."""
        settings = inputs.settings
        given = self.job(inputs)
        network = {
            "backbone": settings.backbone,
            "weights": settings.weights,
            "image_size": settings.image_size,
        } | {k: given.pop(k) for k in ("backbone", "weights") if k in given}
        rest = {"paths": inputs.paths, "grades": inputs.grades, "fold_rows": inputs.fold_rows}
        rest |= {k: given.pop(k) for k in ("paths", "grades") if k in given}
        file = inputs.backbone_file(network["backbone"], network["weights"])
        return Job(self.contender, **rest, **network, backbone_file=file, options=given)


#: Heads on frozen features, the fastest of which that reaches the chapter's kappa stands in row A.
HEADS = ("logistic", "svm", "ridge")


def all_cases(settings: Settings) -> list[Case]:
    """All cases in the order in which they run; the cold ones come before their warm ones."""
    return [
        *_cross_validations(settings),
        *_grids(settings),
        *_extractions(),
        *_fine_tunings(settings),
        *_predictions(),
        *_memory(settings),
        *_start_ups(settings),
    ]


def _cold_and_warm(name: str, groups: str, **options: Any) -> list[Case]:
    return [
        Case(
            f"{name}, {state}",
            groups,
            "fundus_ensemble",
            lambda inputs: dict(options),
            cache=name,
            warm=state == "warm",
        )
        for state in ("cold", "warm")
    ]


def _cross_validations(settings: Settings) -> list[Case]:
    shared = {"learning_rate": 1e-3, "batch_size": settings.batch_size, "epochs": settings.epochs}
    chapter = shared | {"learning_rate": 1e-4, "epochs": settings.chapter_epochs}
    same_epochs = {"crop": None, "validation_fraction": 0.0, "patience": None}
    return [
        *(case for head in HEADS for case in _cold_and_warm(f"fundus {head}", "AC", head=head)),
        *_cold_and_warm("fundus softmax", "BC", head="softmax", **shared, **same_epochs),
        Case("Keras trainable=False", "BC", "keras_frozen", lambda inputs: dict(shared)),
        Case("chapter's loop", "AC", "chapter", lambda inputs: dict(chapter), repeats=1),
    ]


def _grids(settings: Settings) -> list[Case]:
    grid = [{"head": head, "head__C": list(settings.grid_C)} for head in ("logistic", "svm")]
    one = [{"head": "logistic", "head__C": [1e-3]}]
    rates = [1e-3, 1e-4]
    trained = {"epochs": settings.grid_epochs, "batch_size": settings.batch_size}
    ours = {"head": "softmax", "class_weight": None, "validation_fraction": 0.0, "patience": None}
    ours |= {"crop": None, "grid": [{"learning_rate": rates}]}
    return [
        Case("fundus grid", "D", "fundus_grid", lambda inputs: {"grid": grid, "crop": None}),
        Case(
            "fundus grid, one candidate",
            "D",
            "fundus_grid",
            lambda inputs: {"grid": one, "crop": None},
        ),
        Case("heads alone", "D", "heads_alone", lambda inputs: {"grid": grid, "crop": None}),
        Case("Keras pipeline grid", "D", "keras_pipeline_grid", lambda inputs: {"grid": grid}),
        Case("fundus softmax grid", "S", "fundus_grid", lambda inputs: trained | ours),
        Case(
            "scikeras grid",
            "S",
            "scikeras_grid",
            lambda inputs: trained | {"learning_rate": rates},
        ),
    ]


def _extractions() -> list[Case]:
    def large(inputs: Inputs) -> dict[str, Any]:
        return {"paths": inputs.large_images(), "grades": [], "warm_up": inputs.paths[:2]}

    def idrid(inputs: Inputs) -> dict[str, Any]:
        return {"paths": inputs.paths[2:], "grades": [], "warm_up": inputs.paths[:2]}

    def limits(inputs: Inputs, paths: list[str]) -> dict[str, Any]:
        return {"paths": paths, "grades": [], "crop": None}

    plain = {"crop": None}
    return [
        Case("OpenCV loop, large", "E", "opencv_loop", large),
        Case("fundus extraction, large", "EF", "fundus_extract", lambda i: large(i) | plain),
        Case("limit, large", "F", "limits", lambda i: limits(i, i.large_images())),
        Case("fundus extraction, IDRiD", "F", "fundus_extract", lambda i: idrid(i) | plain),
        Case("limit, IDRiD", "F", "limits", lambda i: limits(i, i.paths)),
    ]


def _fine_tunings(settings: Settings) -> list[Case]:
    cases = []
    for backbone, weights, n_images in settings.finetune:
        for freeze in settings.freeze:

            def job(inputs, backbone=backbone, weights=weights, n=n_images, freeze=freeze):
                return {
                    "backbone": backbone,
                    "weights": weights,
                    "paths": inputs.paths[:n],
                    "grades": inputs.grades[:n],
                    "freeze": freeze,
                    "epochs": settings.tuning_epochs,
                    "batch_size": settings.batch_size,
                    "learning_rate": 1e-5,
                }

            what = f"{backbone}, {freeze:.0%} frozen"
            cases.append(Case(f"fundus fine-tuning, {what}", "G", "fundus_finetune", job))
            cases.append(Case(f"Keras fine-tuning, {what}", "G", "keras_finetune", job))
    return cases


def _predictions() -> list[Case]:
    def case(head: str, members: str) -> Case:
        def job(inputs: Inputs) -> dict[str, Any]:
            return {"saved": inputs.saved_ensemble(head), "members": members}

        name = "one model" if members == "one" else "ensemble"
        return Case(f"{name} predicts, {head}", "H", "fundus_predict", job)

    return [case(head, n) for head in ("softmax",) for n in ("one", "all")]


def _memory(settings: Settings) -> list[Case]:
    def case(n: int) -> Case:
        def job(inputs: Inputs) -> dict[str, Any]:
            return {"paths": inputs.synthetic_images(n), "grades": []}

        return Case(f"fundus extraction, {n} images", "I", "fundus_extract", job, repeats=1)

    return [case(n) for n in settings.memory]


def _start_ups(settings: Settings) -> list[Case]:
    commands = {
        'python -c "import numpy"': ("-c", "import numpy"),
        'python -c "import fundus"': ("-c", "import fundus"),
        "fundus --help": ("-m", "fundus.cli", "--help"),
    }
    return [
        Case(name, "J", repeats=settings.start_ups, command=(sys.executable, *arguments))
        for name, arguments in commands.items()
    ]
