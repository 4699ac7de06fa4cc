"""Does training the last layers pay? Variants on IDRiD and on a second camera, with intervals.

    python docs/studies/fine_tuning.py labels.csv other/labels.csv --out results/ \
        --page docs/fine-tuning.md

Every variant is trained on the same folds of the first table, and scored on the images that its
folds left out, and on the second table by the mean severity of its folds. No image of either is in
a training that scores it, and the second table decides nothing. ``--folds 1`` trains the first fold
alone, ``--only`` some variants, ``--size`` another size than 320 pixels.

The predictions of each fold are kept in the folder of results, and what frozen layers gave in the
store, so a broken run goes on where it stopped. The table is written with each variant.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

import fundus.training.tail as tail
from fundus import (
    Augmentation,
    ReluHead,
    RidgeHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    load_image_table,
    paired_difference,
    quadratic_weighted_kappa,
)

FOLDS = 5
REFERABLE = 2
MARKS = "<!-- table: written by docs/studies/fine_tuning.py -->", "<!-- end of table -->"


def variants(epochs: int, warmup: int) -> dict[str, dict[str, Any]]:
    """Parameters by variant, the baseline first; ``averaged`` and ``cutpoints`` are not theirs."""
    recipe = {
        "head": RidgeHead(alpha=150.0, view_strength=8.0), "pooling": "multilevel_std",
        "pool_over": "fov", "stages": slice(1, None), "power": 0.5,
        "augment": Augmentation.cameras(), "augment_views": 4,
    }  # fmt: skip
    trained = {"head": ReluHead(), "freeze": 0.75, "epochs": epochs}
    gentle = trained | {"warmup_epochs": warmup}
    views = {"augment": Augmentation.cameras(), "augment_views": 2}
    return {
        "frozen, as `make_grader()`": recipe | {"cutpoints": True},
        "frozen, as `make_grader()`, nearest grade": recipe,
        'frozen, as `make_grader()`, nearest grade, `aperture="circle"`': recipe
        | {"aperture": "circle"},
        "frozen, `relu`": {"head": ReluHead(), "epochs": epochs, "pool_over": "all"},
        "last quarter trained": trained,
        f"last quarter trained, `warmup_epochs={warmup}`": gentle,
        f"last quarter trained, `warmup_epochs={warmup}`, no averaging": gentle | {"averaged": 0.0},
        f"last quarter trained, `warmup_epochs={warmup}`, rate 1e-3": gentle
        | {"learning_rate": 1e-3},
        f"last quarter trained, `warmup_epochs={warmup}`, 2 views": gentle | views,
        f'last quarter trained, `warmup_epochs={warmup}`, 2 views, `aperture="circle"`': gentle
        | views
        | {"aperture": "circle"},
    }


class Study:
    """The photographs of two cameras, and the predictions of what was trained on one of them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        tables = arguments.table, arguments.other
        own, other = (load_image_table(path, patients_unknown="ok") for path in tables)
        self.paths, self.y = np.asarray(own.paths, dtype=object), np.asarray(own.grades)
        self.patients = np.unique(own.patients, return_inverse=True)[1]
        self.other_paths = np.asarray(other.paths, dtype=object)
        self.other_y = np.asarray(other.grades)
        self.other_patients = np.asarray(other.patients)
        self.n_folds, self.size, self.out = arguments.folds, arguments.size, arguments.out
        self.out.mkdir(parents=True, exist_ok=True)

    def folds(self) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
        """Number, training rows and test rows of the folds that are trained."""
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        for k, (train, test) in enumerate(splitter.split(self.paths, self.y, self.patients)):
            if k < self.n_folds:
                yield k, train, test

    def fold(self, params: dict[str, Any], k: int, train: Any, test: Any) -> dict[str, Any]:
        """Predictions of a variant in a fold, made now or found."""
        what = f"{params} {self.size} {FOLDS} {k}"
        file = self.out / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.npz"
        if not file.is_file():
            params = dict(params)
            cutpoints, averaged = params.pop("cutpoints", False), params.pop("averaged", 0.25)
            model: Any = TransferClassifier(
                image_size=self.size, class_weight=None, grades=5, random_state=0, **params
            )
            if cutpoints:
                model = TunedCutpointClassifierCV(model, cv=5, random_state=0, n_bootstraps=20)
            # at least one epoch is "averaged": the last one itself
            tail.AVERAGED = averaged or 1e-9
            model.fit(self.paths[train], self.y[train])
            found = {}
            for name, paths in (("own", self.paths[test]), ("other", self.other_paths)):
                found[f"{name}_grade"] = model.predict(paths)
                found[f"{name}_severity"] = model.predict_severity(paths)
            np.savez(file, **found)
        return dict(np.load(file))

    def predicted(self, params: dict[str, Any]) -> dict[str, Any]:
        """Grades and severities of both cameras' images, of all folds that are trained."""
        grade, severity = np.zeros(len(self.y), dtype=int), np.full(len(self.y), np.nan)
        others, votes = [], []
        for k, train, test in self.folds():
            found = self.fold(params, k, train, test)
            grade[test], severity[test] = found["own_grade"], found["own_severity"]
            others.append(found["other_severity"])
            votes.append(found["other_grade"])
        scored = ~np.isnan(severity)
        return {
            "scored": scored, "own": grade[scored], "own_severity": severity[scored],
            # the median of the folds' grades is one of them, as their number is odd
            "other": np.median(votes, axis=0).round().astype(int),
            "other_severity": np.mean(others, axis=0),
        }  # fmt: skip

    def row(self, name: str, found: dict[str, Any], base: dict[str, Any]) -> dict[str, str]:
        """One line of the table."""
        cells = {"variant": name}
        scored = found["scored"]
        for camera, y, groups in (
            ("own", self.y[scored], self.patients[scored]),
            ("other", self.other_y, self.other_patients),
        ):
            kappa = quadratic_weighted_kappa(y, found[camera])
            auc = paired_difference(
                "auc", y >= REFERABLE, found[f"{camera}_severity"], base[f"{camera}_severity"],
                groups=groups,
            )  # fmt: skip
            gain = paired_difference("qwk", y, found[camera], base[camera], groups=groups)
            interval = gain.difference.interval
            cells[f"{camera}: kappa"] = f"{kappa:.3f}"
            cells[f"{camera}: gain"] = (
                "" if found is base else
                f"{gain.difference.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
            )  # fmt: skip
            cells[f"{camera}: AUC"] = f"{auc.a:.3f}"
        return cells


def written(rows: list[dict[str, str]], study: Study, epochs: int, page: Path | None) -> None:
    """Write what is known, as a CSV and between the marks of a page."""
    table = pd.DataFrame(rows)
    table.to_csv(study.out / "results.csv", index=False)
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in table.to_numpy()]
    n = sum(len(test) for _, _, test in study.folds())
    about = (
        f"{study.n_folds} of {FOLDS} folds, {n} images of the first camera scored, "
        f"{len(study.other_y)} of the other; {study.size} px, at most {epochs} epochs."
    )
    print(*lines, about, sep="\n", flush=True)
    if page is not None:
        start, end = MARKS
        before, _, rest = page.read_text(encoding="utf-8").partition(start)
        text = "\n".join([start, about, "", *lines, end])
        page.write_text(before + text + rest.partition(end)[2], encoding="utf-8")


def main() -> None:
    """Train what is not kept yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of variants, from 0")
    arguments = parser.parse_args()
    study = Study(arguments)
    some = list(variants(arguments.epochs, arguments.warmup).items())
    base, rows = None, []
    for k in arguments.only or range(len(some)):
        name, params = some[k]
        found = study.predicted(params)
        base = found if base is None else base
        rows.append(study.row(name, found, base))
        written(rows, study, arguments.epochs, arguments.page)


if __name__ == "__main__":
    main()
