"""What a grader trained on one camera is worth on another: the few rows that matter.

    python docs/studies/another_camera.py idrid/labels.csv second/labels.csv --out results/

A row is a whole grader: frozen features, head and cutpoints. It is scored

* out of fold on the first table, 5 stratified folds under each of three seeds; whatever is fitted,
  cutpoints too, is fitted inside the training part (the seed shuffles the folds alone);
* the same under stress: each photograph changed in each of a few ways, at medium strength;
* on the second table, of which it has seen nothing; and, trained on the second, on the first;
* by what it reads of the border: among healthy photographs of the second table, the rank
  correlation of severity with the share of the picture inside the field of view, of the
  photographs as they are, and of them together with views that were zoomed in and out.

And cutpoints are fitted anew on some patients of the second table, and scored on its others.

The second table has chosen the default recipe, so that its scores of it are optimistic. Intervals
are 95 %, by patient where a table names patients. Features are kept in the store and predictions
in the folder of results, so a broken run goes on where it stopped. The tables go there too, and
between the markers of pages: ``--guide docs/choosing-a-model.md --page docs/another-camera.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich import print
from scipy.stats import spearmanr
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from fundus import (
    Augmentation,
    FoldEnsemble,
    load_image_table,
    optimal_cutpoints,
    quadratic_weighted_kappa,
    stress_out_of_fold,
)
from fundus.data.inputs import Images, as_images
from fundus.frozen.views import changed
from fundus.grades.cutpoints import grades_at
from fundus.images import ImageRecipe
from fundus.metrics.resampled import confusions, kappa_of
from fundus.recipes.grader import make_classifier, with_cutpoints
from fundus.recipes.table import RECIPES
from fundus.reporting.bootstrap import Bootstrap, Measure, bootstrap_of

N_GRADES = 5
#: What the project recommended before, and the gain on the second camera is over.
FORMER = "448 px, `multilevel_max`, power 0.5"
FOLDS = 5
SEEDS = (0, 1, 2)
#: What a photograph is changed by under stress, at medium strength.
STRESS = ("tone", "resolution", "zoom")
#: Factors by which views of the second table are zoomed, which moves the border.
ZOOMS = (0.85, 1.15)

#: A row of earlier releases: no views, all positions, the best cutpoints.
_PLAIN = {"backbone": "efficientnet_lite0", "head": "ridge", "class_weight": None,
          "cutpoints": True, "image_size": 320, "pool_over": "all", "augment": "none"}  # fmt: skip

#: The rows: values as of a recipe.
ROWS: dict[str, Mapping[str, Any]] = {
    "default recipe": RECIPES["default"].values,
    "default, cutpoints of the severities themselves": {
        **RECIPES["default"].values,
        "distribution": "empirical",
    },
    "default, no views": {
        **_PLAIN,
        "pooling": "multilevel_std",
        "stages": slice(1, None),
        "power": 0.5,
        "pool_over": "fov",
        "head__alpha": 150.0,
        "distribution": "normal",
    },
    "default, pooled over all positions": {**RECIPES["default"].values, "pool_over": "all"},
    "default, without the last stage": {**RECIPES["default"].values, "stages": slice(1, -1)},
    'default, `aperture="circle"`': {**RECIPES["default"].values, "aperture": "circle"},
    "320 px, `multilevel`": {**_PLAIN, "pooling": "multilevel"},
    "448 px, `multilevel_max`, power 0.5": {
        **_PLAIN,
        "pooling": "multilevel_max",
        "power": 0.5,
        "image_size": 448,
    },
    "224 px, `avg`": {**_PLAIN, "pooling": "avg", "image_size": 224},
}


class Study:
    """Two tables, and what has been predicted of them."""

    def __init__(self, first: Path, second: Path, out: Path, random_state: int) -> None:
        self.first, self.second = (load_image_table(table) for table in (first, second))
        self.out, self.random_state = out, random_state

    def kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, NDArray[Any]]:
        """Return arrays from the folder of results, made if they are not there."""
        file = self.out / f"{name}.npz"
        if not file.is_file():
            part = file.with_suffix(".part.npz")
            np.savez(part, **make())
            part.replace(file)
        return dict(np.load(file))

    def predictions(self, row: str, values: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Everything a row predicts."""
        print(row)
        name = "".join(letter for letter in row.replace(" ", "_") if letter not in ',/`"=')
        return {
            **self.kept(f"{name}-folds", lambda: self.out_of_fold(values)),
            **self.kept(f"{name}-across", lambda: self.across(values)),
        }

    def out_of_fold(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Grades of the first table by seed, and under stress by kind."""
        data, grades, stressed = self.first, [], {}
        for seed in SEEDS:
            cls = StratifiedGroupKFold if data.patients_known else StratifiedKFold
            folds = cls(FOLDS, shuffle=True, random_state=seed)
            groups = data.patients if data.patients_known else None
            model = FoldEnsemble(grader(values, self.random_state), cv=folds, random_state=seed)
            model.fit(data.paths, data.grades, groups=groups)
            grades.append(model.oof_prediction_)
            if seed == SEEDS[0]:
                found = stress_out_of_fold(
                    model, list(data.paths), data.grades, kinds=STRESS, strengths=[2],
                    groups=groups, n_resamples=2000,
                )  # fmt: skip
                mean = found.means[2].measures["qwk"]
                stressed = {"stress": [mean.value, mean.interval.low, mean.interval.high]}
        return {"oof": np.stack(grades), **stressed}

    def across(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Grades and severities of each table by a grader that was fitted on the other."""
        found: dict[str, Any] = {}
        for name, train, test in (
            ("second", self.first, self.second), ("first", self.second, self.first),
        ):  # fmt: skip
            model = grader(values, self.random_state).fit(
                train.paths,
                train.grades,
                **({"groups": train.patients} if train.patients_known else {}),
            )
            found[f"{name}_grade"] = model.predict(test.paths)
            found[f"{name}_severity"] = model.predict_severity(test.paths)
            if name == "second":
                images = as_images(list(test.paths))
                moved = changed(images, zooms(), 0)
                severity = model.votes_of(model.read_images(moved)).severity
                found["moved_severity"] = severity.reshape(len(images), len(ZOOMS))
        return found

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share of the field of view, of photographs and zoomed views of the second table."""

        def measured() -> dict[str, Any]:
            images = as_images(list(self.second.paths))
            other = shares_of(changed(images, zooms(), 0)).reshape(len(images), -1)
            return {"share": np.column_stack([shares_of(images), other])}

        return self.kept("shares", measured)["share"]


def shares_of(images: Images) -> NDArray[np.float64]:
    """Share of the field of view in each square that a network gets."""
    recipe = ImageRecipe(320)
    masks = (images.picture_and_mask(row, recipe)[1] for row in range(len(images)))
    return np.array([mask.mean() for mask in masks])


def grader(values: Mapping[str, Any], random_state: int) -> Any:
    """Make the unfitted grader of a row; its views are the same under every seed of the folds."""
    classifier = make_classifier(values, grades=N_GRADES, random_state=random_state)
    return with_cutpoints(classifier, values, random_state=random_state)


def zooms() -> list[Augmentation]:
    """The views that move the border, and nothing else."""
    still = Augmentation(
        rotation=0, shift=0, flip_horizontal=False, flip_vertical=False, zoom_per_axis=False,
        fill="black",
    )  # fmt: skip
    return [replace(still, zoom=(factor, factor)) for factor in ZOOMS]


# --- the table ---------------------------------------------------------------------------------


class Scores:
    """Scores of rows with intervals, all on the same resamples."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.true = {name: np.asarray(getattr(study, name).grades) for name in ("first", "second")}
        self.drawn: dict[str, Bootstrap] = {}
        for name, true in self.true.items():
            table = getattr(study, name)
            who = table.patients if table.patients_known else None
            order = np.arange(len(true), dtype=float)[:, None]
            self.drawn[name] = bootstrap_of(order, who)

    def kappa(self, table: str, grades: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
        """Mean kappa of several sets of grades of one table, and of its resamples."""
        sets = np.atleast_2d(grades)
        true, drawn = self.true[table], self.drawn[table]
        parts = [
            np.mean([kappa_of(confusions(weights, true, one, N_GRADES)) for one in sets], axis=0)
            for weights in (np.ones((1, len(true))), *drawn.weights())
        ]
        return float(parts[0][0]), np.concatenate(parts[1:])

    def border(self, severity: NDArray[Any], moved: NDArray[Any]) -> tuple[Measure, Measure]:
        """Rank correlations of severity and field of view, among healthy photographs.

        Of the photographs as they are, and of them and their zoomed views together.
        """
        healthy = self.true["second"] == 0
        shares = self.study.shares
        every = np.column_stack([severity, moved])
        found = []
        for columns in (slice(1), slice(None)):
            own, own_shares = every[:, columns], shares[:, columns]

            def of(rows: Any, a: Any = own, b: Any = own_shares) -> float:
                return float(spearmanr(a[rows].ravel(), b[rows].ravel())[0])

            resampled = [
                of(np.repeat(np.arange(len(healthy)), (row * healthy).astype(int)))
                for weights in self.drawn["second"].weights()
                for row in weights
            ]
            value = of(np.flatnonzero(healthy))
            found.append(self.drawn["second"].measure(value, np.array(resampled)))
        return found[0], found[1]


def table(study: Study) -> pd.DataFrame:
    """One row a grader; gains are over the one that was recommended before."""
    scores, rows, paired = Scores(study), [], {}
    predicted = {name: study.predictions(name, values) for name, values in ROWS.items()}
    for name, found in predicted.items():
        row: dict[str, Any] = {"grader": name}
        for column, of, grades in (
            ("out of fold", "first", found["oof"]),
            ("second camera", "second", found["second_grade"]),
            ("back", "first", found["first_grade"]),
        ):
            value, resampled = scores.kappa(of, grades)
            paired[name, column] = value, resampled
            row[column] = scores.drawn[of].measure(value, resampled)
        row["lowest seed"], row["highest seed"] = (
            pick(scores.kappa("first", one)[0] for one in found["oof"]) for pick in (min, max)
        )
        row["under stress"] = [float(x) for x in found["stress"]]
        row["border"], row["border moved"] = scores.border(
            found["second_severity"], found["moved_severity"]
        )
        rows.append(row)
    for row in rows:
        value, resampled = paired[row["grader"], "second camera"]
        base, others = paired[FORMER, "second camera"]
        row["gain"] = scores.drawn["second"].measure(value - base, resampled - others)
    return pd.DataFrame(rows)


def adapting(study: Study, draws: int = 60) -> pd.DataFrame:
    """What cutpoints of so many patients of the second table do, on its other patients."""
    data, found = study.second, study.predictions("default recipe", ROWS["default recipe"])
    severity, before = found["second_severity"], found["second_grade"]
    true, who = np.asarray(data.grades), np.asarray(data.patients)
    rows = []
    for n in (25, 50, 75, 100):
        kappas = []
        for draw in range(draws):
            drawn = np.random.default_rng(draw).choice(np.unique(who), n, replace=False)
            own = np.isin(who, drawn)
            if len(np.unique(true[own])) < N_GRADES:
                continue
            pair = [before[~own]]
            for how in ("empirical", "normal"):
                cuts, _ = optimal_cutpoints(severity[own], true[own], distribution=how)
                pair.append(grades_at(severity[~own], cuts))
            kappas.append(
                [quadratic_weighted_kappa(true[~own], one, n_grades=N_GRADES) for one in pair]
            )
        mean = np.mean(kappas, axis=0)
        better = np.mean(np.array(kappas)[:, 2] > np.array(kappas)[:, 0])
        rows.append({"patients": n, "draws": len(kappas), "before": mean[0],
                     "empirical": mean[1], "normal": mean[2], "better": better})  # fmt: skip
    return pd.DataFrame(rows)


MARKS = {
    "table": ("<!-- table: studies/another_camera.py -->", "<!-- end of table -->"),
    "adapting": ("<!-- adapting: studies/another_camera.py -->", "<!-- end of adapting -->"),
}


def as_markdown(frame: pd.DataFrame) -> str:
    """The main table."""
    lines = [
        "| grader | out of fold (seeds) | under stress | second camera | gain there "
        "| trained there, on the first | border | border moved |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def told(measure: Measure, sign: str = "") -> str:
        low, high = measure.interval.low, measure.interval.high
        return f"{measure.value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"

    for row in frame.to_dict("records"):
        value, low, high = row["under stress"]
        gain = "" if row["grader"] == FORMER else told(row["gain"], "+")
        lines.append(
            f"| {row['grader']} | {told(row['out of fold'])}, seeds {row['lowest seed']:.3f} to "
            f"{row['highest seed']:.3f} | {value:.3f} ({low:.3f} to {high:.3f}) "
            f"| {told(row['second camera'])} | {gain} | {told(row['back'])} "
            f"| {told(row['border'], '+')} | {told(row['border moved'], '+')} |"
        )
    return "\n".join(lines)


def adapting_as_markdown(frame: pd.DataFrame) -> str:
    """What adapting does."""
    lines = ["| patients | cutpoints of the first camera | the best of the patients' own "
             "| normal ones of their own | share of draws where those are better |",
             "|---|---|---|---|---|"]  # fmt: skip
    for row in frame.to_dict("records"):
        lines.append(
            f"| {row['patients']} | {row['before']:.3f} | {row['empirical']:.3f} "
            f"| {row['normal']:.3f} | {row['better']:.0%} of {row['draws']} |"
        )
    return "\n".join(lines)


def write_between(page: Path, marks: tuple[str, str], new: str) -> None:
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(marks[0])
    _, after = rest.split(marks[1], 1)
    page.write_text(f"{before}{marks[0]}\n{new}\n{marks[1]}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", type=Path, help="table of the first camera")
    parser.add_argument("second", type=Path, help="table of the second camera, with patients")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--random-state", type=int, default=0, help="seed of the graders")
    parser.add_argument("--guide", type=Path, help="page whose table is replaced")
    parser.add_argument("--page", type=Path, help="page whose table of adapting is replaced")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study = Study(options.first, options.second, options.out, options.random_state)
    first, second = shares_of(as_images(list(study.first.paths))).mean(), study.shares[:, 0].mean()
    print(
        f"Field of view: {first:.2f} of the square on the first camera, {second:.2f} on the second"
    )
    frame, adapted = table(study), adapting(study)
    frame.to_csv(options.out / "results.csv", index=False)
    adapted.to_csv(options.out / "adapting.csv", index=False)
    print(as_markdown(frame), adapting_as_markdown(adapted), sep="\n\n")
    if options.guide is not None:
        write_between(options.guide, MARKS["table"], as_markdown(frame))
    if options.page is not None:
        write_between(options.page, MARKS["adapting"], adapting_as_markdown(adapted))


if __name__ == "__main__":
    main()
