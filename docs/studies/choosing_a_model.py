"""Which frozen features, head and cutpoints grade best: a nested cross-validation of each variant.

    python docs/studies/choosing_a_model.py labels.csv --out results/

Each variant is scored by out-of-fold predictions under several seeds. Its cutpoints come from 5
folds inside each outer training part. The last row also chooses the variant there, by kappa, so
that it owes nothing to how many were tried.

Features are kept in the store and severities in the folder of results, so a broken run goes on
where it stopped. The table goes to ``results.csv`` there, and between the markers of the guide with
``--guide docs/choosing-a-model.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich import print
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from fundus import (
    FeatureExtractor,
    LogisticHead,
    OrdinalLogisticHead,
    OrdinalRidgeHead,
    ReluHead,
    RidgeHead,
    SVMHead,
    TransferClassifier,
    load_image_table,
    quadratic_weighted_kappa,
)
from fundus.grades.cutpoints import grades_at, optimal_cutpoints
from fundus.metrics.resampled import kappa_of

N_GRADES = 5
FOLDS = 5
HEADS = {
    "logistic": LogisticHead(), "svm": SVMHead(), "ridge": RidgeHead(), "relu": ReluHead(),
    "ordinal_logistic": OrdinalLogisticHead(), "ordinal_ridge": OrdinalRidgeHead(),
}  # fmt: skip
REGRESSORS = ("ridge", "relu")


@dataclass(frozen=True)
class Features:
    """One set of features; the mean over the image and its mirror image where `flip` is true."""

    backbone: str = "lite0"
    size: int = 320
    crop: str | None = "fov"
    pooling: str = "avg"
    power: float | None = None
    flip: bool = False

    def __str__(self) -> str:
        return f"{self.where}, {self.how}"

    @property
    def where(self) -> str:
        """Backbone and size."""
        return f"{self.backbone} {self.size} px"

    @property
    def how(self) -> str:
        """All the rest."""
        crop = {"fov": "", None: ", squashed"}[self.crop]
        power = "" if self.power is None else f", power {self.power}"
        flip = ", with mirror images" if self.flip else ""
        return f"`{self.pooling}`{power}{crop}{flip}"


@dataclass(frozen=True)
class Variant:
    """Features side by side, a head, and whether cutpoints are fitted; or severities combined.

    `freeze` below 1 trains the last layers too, on images; there are no inner folds then, which
    would take hours. `stacked` combines severities by non-negative least squares, not their mean.
    """

    features: tuple[Features, ...] = ()
    head: str = "ridge"
    cutpoints: bool = True
    class_weight: str | None = None
    freeze: float = 1.0
    parts: tuple[Variant, ...] = ()
    stacked: bool = False

    @property
    def nested(self) -> bool:
        """Whether it is scored inside each training part too."""
        return self.head != "relu"

    def __str__(self) -> str:
        trained = f", {self.freeze:.0%} of layers frozen" if self.freeze < 1 else ""
        if not self.parts:
            where = " + ".join(one.where for one in self.features)
            return f"{where}, {self.features[0].how}{trained}"
        parts = [one.features[0] for one in self.parts]
        how = "stack of" if self.stacked else "mean of"
        return f"{how} {', '.join(one.where for one in parts)}; {parts[0].how}"


def variants() -> list[Variant]:
    """Every variant there is; the first is the baseline."""
    stages = {"pooling": "multilevel", "power": 0.5}
    peaks = {"pooling": "multilevel_max", "power": 0.5}
    both_pools = {"pooling": "multilevel_avg+max", "power": 0.5}
    poolings = ("avg", "max", "avg+max", "gem", "multilevel", "multilevel_max")
    poolings = (*poolings, "multilevel_avg+max")
    sets = [
        *(Features(size=size) for size in (224, 320, 448)),
        *(Features(size=size, crop=None) for size in (224, 320)),
        *(Features(pooling=how, power=power) for how in poolings for power in (None, 0.5)),
        Features(crop=None, **stages), Features(size=448, **stages),
        Features(size=448, **both_pools),
        *(Features(size=size, **peaks) for size in (224, 448)),
        *(Features(f"lite{k}", size, **peaks) for k in (1, 2) for size in (320, 448)),
        *(Features(size=size, flip=True, **how)
          for how in (peaks, both_pools) for size in (320, 448)),
    ]  # fmt: skip
    two_sizes = [
        [Features(size=size, flip=flip, **how) for size in (320, 448)]
        for how, flip in ((stages, False), (peaks, False), (both_pools, False), (both_pools, True))
    ]
    networks = [[Features(f"lite{k}", size, **peaks) for k in range(3)] for size in (320, 448)]
    joined = [*two_sizes[:3], networks[0]]
    averaged = [*two_sizes[1:], *networks, networks[0] + networks[1]]
    cuts, balanced = (False, True), "balanced"
    return list(dict.fromkeys([
        Variant((Features(size=224),), "logistic", False, balanced),
        *(Variant((Features(**how),), "logistic", cut, balanced)
          for how in ({}, stages) for cut in cuts),
        *(Variant((one,), cutpoints=cut) for one in sets for cut in cuts),
        *(Variant((Features(**stages),), "ridge", cut, balanced) for cut in cuts),
        *(Variant(tuple(some), cutpoints=cut) for some in joined for cut in cuts),
        *(Variant(parts=tuple(Variant((one,)) for one in some), stacked=stacked)
          for some in averaged for stacked in cuts),
        *(Variant((one,), head, cut, weight)
          for one in (Features(size=224), Features(size=448, **peaks))
          for head, weight in (("svm", balanced), ("ordinal_logistic", balanced),
                               ("ordinal_ridge", None))
          for cut in cuts),
        *(Variant((Features(size=224),), "relu", False, freeze=freeze) for freeze in (1.0, 0.9)),
    ]))  # fmt: skip


# --- severities --------------------------------------------------------------------------------


class Study:
    """The photographs, and what has been computed of them."""

    def __init__(self, table: Path, out: Path, seeds: int) -> None:
        data = load_image_table(table)
        self.paths, self.y = np.asarray(data.paths, dtype=object), np.asarray(data.grades)
        self.patients = np.unique(data.patients, return_inverse=True)[1]
        self.by_patient, self.seeds, self.out = bool(data.patients_known), seeds, out
        self.held: dict[Features, NDArray[np.float32]] = {}
        self.decided: dict[tuple[Variant, int, int], tuple[float, Any]] = {}
        self.read: dict[Path, dict[str, NDArray[Any]]] = {}

    def folds(self, rows: NDArray[np.intp], seed: int) -> Iterator[tuple[Any, Any]]:
        """Training and test rows; a patient's are on one side."""
        cls = StratifiedGroupKFold if self.by_patient else StratifiedKFold
        groups = self.patients[rows] if self.by_patient else None
        for train, test in cls(FOLDS, shuffle=True, random_state=seed).split(
            rows, self.y[rows], groups
        ):
            yield rows[train], rows[test]

    def matrix(self, one: Features) -> NDArray[np.float32]:
        """The features of all photographs."""
        if one not in self.held:
            extractor = FeatureExtractor(
                f"efficientnet_{one.backbone}", image_size=one.size, crop=one.crop,
                pooling=one.pooling, power=one.power,
            )  # fmt: skip
            start = time.perf_counter()
            X = extractor.fit_transform(self.paths)
            if one.flip:
                X = (X + extractor.transform(self.mirrored())) / 2
            print(f"{one}: {X.shape[1]} features in {time.perf_counter() - start:.0f} s")
            self.held[one] = X
        return self.held[one]

    def mirrored(self) -> NDArray[np.uint8]:
        """The photographs, all of one size, from right to left."""
        return np.stack([np.ascontiguousarray(cv2.imread(p)[:, ::-1, ::-1]) for p in self.paths])

    def severities(self, variant: Variant) -> dict[str, NDArray[Any]]:
        """Severity and own grade of every image, by seed, of outer test folds and of inner ones.

        ``inner[s, k]`` are out-of-fold severities of the training part of outer fold ``k``.
        """
        if variant.parts:
            parts = [self.severities(part) for part in variant.parts]
            names = ("outer", "inner")
            if variant.stacked:
                return self.stacked(*(np.stack([p[name] for p in parts], -1) for name in names))
            return {name: np.mean([p[name] for p in parts], axis=0) for name in names}
        head = HEADS[variant.head]
        trained = f" {variant.freeze}" if variant.freeze < 1 else ""
        what = f"{variant.features} {head} {variant.class_weight} {FOLDS} {self.seeds}{trained}"
        file = self.out / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.npz"
        if file not in self.read:
            if not file.is_file():
                np.savez(file, **self.cross_validated(variant, head))
            self.read[file] = dict(np.load(file))
        return self.read[file]

    def stacked(self, outer: NDArray[Any], inner: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Weigh severities ``(…, n, parts)``; the weights see out-of-fold severities alone."""
        found = {"outer": np.zeros(outer.shape[:-1]), "inner": np.full(inner.shape[:-1], np.nan)}
        model = LinearRegression(positive=True)
        for s in range(self.seeds):
            for k, (train, test) in enumerate(self.folds(np.arange(len(self.y)), s)):
                Z = inner[s, k, train]
                for a, b in self.folds(train, s):
                    model.fit(inner[s, k, a], self.y[a])
                    found["inner"][s, k, b] = model.predict(inner[s, k, b])
                found["outer"][s, test] = model.fit(Z, self.y[train]).predict(outer[s, test])
        return found

    def cross_validated(self, variant: Variant, head: Any) -> dict[str, NDArray[Any]]:
        """Fit a head on every outer training part, and on the inner ones of each."""
        n = len(self.y)
        X: NDArray[Any] = self.paths
        where: dict[str, Any] = {"backbone": "precomputed"}
        if variant.freeze < 1:
            one = variant.features[0]
            where = {"backbone": f"efficientnet_{one.backbone}", "freeze": variant.freeze,
                     "image_size": one.size, "crop": one.crop}  # fmt: skip
        else:
            X = np.hstack([self.matrix(one) for one in variant.features])
        found = {
            "outer": np.zeros((self.seeds, n)), "outer_grade": np.zeros((self.seeds, n), int),
            "inner": np.full((self.seeds, FOLDS, n), np.nan),
            "inner_grade": np.zeros((self.seeds, FOLDS, n), int),
        }  # fmt: skip
        model = TransferClassifier(
            **where, head=head, grades=N_GRADES, class_weight=variant.class_weight, epochs=20,
            random_state=0,
        )  # fmt: skip

        def run(train: Any, test: Any, severity: Any, grade: Any) -> None:
            model.fit(X[train], self.y[train])
            severity[test], grade[test] = model.predict_severity(X[test]), model.predict(X[test])

        for s in range(self.seeds):
            for k, (train, test) in enumerate(self.folds(np.arange(n), s)):
                run(train, test, found["outer"][s], found["outer_grade"][s])
                for a, b in self.folds(train, s) if variant.nested else ():
                    run(a, b, found["inner"][s, k], found["inner_grade"][s, k])
        return found

    # --- decisions -----------------------------------------------------------------------------

    def decide(self, variant: Variant, s: int, k: int, train: Any, test: Any) -> tuple[float, Any]:
        """Kappa inside the training part of an outer fold, and the grades of its test part."""
        if (variant, s, k) not in self.decided:
            self.decided[variant, s, k] = self._decide(variant, s, k, train, test)
        return self.decided[variant, s, k]

    def _decide(self, variant: Variant, s: int, k: int, train: Any, test: Any) -> tuple[float, Any]:
        found = self.severities(variant)
        if not variant.nested:
            return np.nan, found["outer_grade"][s, test]
        if not variant.cutpoints:
            inner = found["inner_grade"][s, k, train]
            score = quadratic_weighted_kappa(self.y[train], inner, n_grades=N_GRADES)
            return score, found["outer_grade"][s, test]
        cuts, score = optimal_cutpoints(found["inner"][s, k, train], self.y[train])
        return score, grades_at(found["outer"][s, test], cuts)

    def grades(self, some: list[Variant]) -> tuple[NDArray[np.intp], list[str]]:
        """Out-of-fold grades by seed, of whichever variant is best inside, and which that was."""
        grades = np.zeros((self.seeds, len(self.y)), dtype=np.intp)
        names = []
        for s in range(self.seeds):
            for k, (train, test) in enumerate(self.folds(np.arange(len(self.y)), s)):
                tried = [(*self.decide(one, s, k, train, test), one) for one in some]
                _, grades[s, test], one = max(tried, key=lambda t: t[0])
                names.append(str(one))
        return grades, names


# --- the table ---------------------------------------------------------------------------------


def resampled_kappas(study: Study, grades: NDArray[np.intp], n_resamples: int) -> Any:
    """Kappa by seed, and the mean over seeds on resamples of patients, the same at every call."""
    rng = np.random.default_rng(0)
    n_patients = study.patients.max() + 1
    drawn = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples)
    drawn = np.vstack([np.ones(n_patients), drawn])[:, study.patients]
    kappas = []
    for row in grades:
        cells = np.eye(N_GRADES**2)[study.y * N_GRADES + row]
        kappas.append(kappa_of((drawn @ cells).reshape(-1, N_GRADES, N_GRADES)))
    return np.array([k[0] for k in kappas]), np.mean(kappas, axis=0)[1:]


def table(study: Study, some: list[Variant], n_resamples: int = 2000) -> pd.DataFrame:
    """One row a variant, the baseline first, and the choice among all of them last."""
    rows, base = [], None
    nested = [one for one in some if one.nested]
    for group in [*([one] for one in some), nested]:
        grades, names = study.grades(group)
        kappas, resampled = resampled_kappas(study, grades, n_resamples)
        one = group[0]
        if len(group) > 1:
            counts = pd.Series(names).value_counts()
            print("chosen inside:\n", counts.to_string())
            about = {"features": f"best of {len(nested)} of these inside each training part",
                     "head": "", "grades by": ""}  # fmt: skip
        else:
            rule = "nearest" if one.head in REGRESSORS else "most probable"
            weights = ", balanced" if one.class_weight else ""
            about = {"features": str(one), "head": one.head + weights,
                     "grades by": "cutpoints" if one.cutpoints else rule}  # fmt: skip
        base = (kappas.mean(), resampled) if base is None else base
        low, high = np.percentile(resampled - base[1], [2.5, 97.5])
        rows.append({
            **about, "kappa": kappas.mean(), "lowest seed": kappas.min(),
            "highest seed": kappas.max(), "gain": kappas.mean() - base[0],
            "gain low": low, "gain high": high,
        })  # fmt: skip
        print(f"{kappas.mean():.3f} {rows[-1]['features']} {rows[-1]['head']} "
              f"{rows[-1]['grades by']}")  # fmt: skip
    return pd.DataFrame(rows)


MARKS = ("<!-- table: studies/choosing_a_model.py -->", "<!-- end of table -->")


def as_markdown(frame: pd.DataFrame) -> str:
    lines = ["| features | head | grades by | kappa (seeds) | gain, 95 % interval |",
             "|---|---|---|---|---|"]  # fmt: skip
    for row in frame.to_dict("records"):
        lines.append(
            f"| {row['features']} | {row['head']} | {row['grades by']} "
            f"| {row['kappa']:.3f} ({row['lowest seed']:.3f} to {row['highest seed']:.3f}) "
            f"| {row['gain']:+.3f} ({row['gain low']:+.3f} to {row['gain high']:+.3f}) |"
        )
    return "\n".join(lines)


def write_guide(guide: Path, frame: pd.DataFrame) -> None:
    text = guide.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    new = f"{before}{MARKS[0]}\n{as_markdown(frame)}\n{MARKS[1]}{after}"
    guide.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="file names and grades, one size of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--guide", type=Path, help="Markdown file whose table is replaced")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study = Study(options.table, options.out, options.seeds)
    frame = table(study, variants())
    frame.to_csv(options.out / "results.csv", index=False)
    if options.guide is not None:
        write_guide(options.guide, frame)


if __name__ == "__main__":
    main()
