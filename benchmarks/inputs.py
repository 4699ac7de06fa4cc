"""What the contenders work on, made once and not timed: folds, saved networks, more images.

``python -m benchmarks.inputs WHAT ARGUMENTS`` makes one of them in a process of its own, so that
nothing of it stays in the memory of the process that measures.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.model_selection import StratifiedKFold

from benchmarks.machine import ROOT, commit
from benchmarks.settings import Settings


@dataclass(frozen=True)
class Inputs:
    """Images, grades and folds, and where made things are.

    Parameters
    ----------
    paths : list of str
    grades : list of int
    fold_rows : list of [train rows, test rows]
    folder : Path
        Where what is made lies; a later run finds it there.
    settings : Settings
    """

    paths: list[str]
    grades: list[int]
    fold_rows: list[list[list[int]]]
    folder: Path
    settings: Settings

    @property
    def of_commit(self) -> Path:
        """Where made things go that another version would make differently."""
        folder = self.folder / commit()
        folder.mkdir(exist_ok=True)
        return folder

    def backbone_file(self, name: str, weights: str | None) -> str:
        """The network as Keras saves it."""
        file = self.of_commit / f"{name}-{weights}-{self.settings.image_size}.keras"
        size = str(self.settings.image_size)
        return str(_made(file, "network", name, weights or "", size))

    def large_images(self) -> list[str]:
        """Real photographs at the size of a fundus camera's JPEGs."""
        n, width, height = self.settings.large
        folder = self.folder / f"large-{n}-{width}x{height}"
        _made(folder, "large", str(width), str(height), *self.paths[:n])
        return sorted(str(path) for path in folder.iterdir())

    def synthetic_images(self, n: int) -> list[str]:
        """The first n of the synthetic photographs."""
        most = max(self.settings.memory)
        folder = self.folder / f"synthetic-{most}-{self.settings.image_size}"
        _made(folder, "synthetic", str(most), str(self.settings.image_size))
        return sorted(str(path) for path in folder.glob("class*/*.jpeg"))[:n]

    def saved_ensemble(self, head: str) -> str:
        """An ensemble of one model per fold, trained on the first images."""
        settings = self.settings
        folder = self.of_commit / f"ensemble-{settings.backbone}-{head}"
        rows = list(range(min(settings.ensemble_rows, len(self.paths))))
        table = self.of_commit / "ensemble.csv"
        columns = {"path": [self.paths[k] for k in rows], "grade": [self.grades[k] for k in rows]}
        pd.DataFrame(columns).to_csv(table, index=False)
        network = [settings.backbone, settings.weights, str(settings.image_size)]
        return str(_made(folder, "ensemble", head, str(settings.folds), str(table), *network))


def find_inputs(data: Path, folder: Path, settings: Settings) -> Inputs:
    """Read a labels table and write its folds.

    Parameters
    ----------
    data : Path
        Folder with ``labels.csv``; its columns are ``file`` (or ``path``) and ``grade``.
    folder : Path
        Where what is made goes, in a folder of this table.
    settings : Settings

    Returns
    -------
    Inputs
    """
    table = pd.read_csv(data / "labels.csv")
    folder = folder / hashlib.sha256((data / "labels.csv").read_bytes()).hexdigest()[:12]
    column = "file" if "file" in table.columns else "path"
    paths = [str((data / name).resolve()) for name in table[column]]
    grades = table["grade"].astype(int)
    folder.mkdir(parents=True, exist_ok=True)
    splitter = StratifiedKFold(settings.folds, shuffle=True, random_state=0)
    fold_rows = [[a.tolist(), b.tolist()] for a, b in splitter.split(paths, grades)]
    (folder / "folds.json").write_text(json.dumps(fold_rows))
    return Inputs(paths, grades.tolist(), fold_rows, folder, settings)


def _made(target: Path, what: str, *arguments: str) -> Path:
    """Make a file or folder in a process of its own, unless it is there; whole or not at all."""
    if not target.exists():
        unfinished = target.with_name(f"unfinished-{target.name}")
        command = [sys.executable, "-m", "benchmarks.inputs", what, str(unfinished), *arguments]
        environment = os.environ | {"FUNDUS_CACHE_DIR": str(target.parent / "cache-of-inputs")}
        subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        unfinished.rename(target)
    return target


def make_network(target: Path, name: str, weights: str, image_size: str) -> None:
    from fundus.backbones.network import Network

    seed = None if weights else 0
    network = Network(name, weights or None, int(image_size), "all", "avg", seed)
    # Keras tells the format by the ending
    file = target.with_suffix(".keras")
    network.build().save(file)
    file.rename(target)


def make_large(target: Path, width: str, height: str, *paths: str) -> None:
    import cv2

    target.mkdir(exist_ok=True)
    for path in paths:
        size = (int(width), int(height))
        image = cv2.resize(cv2.imread(path), size, interpolation=cv2.INTER_CUBIC)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
        cv2.imwrite(str(target / f"{Path(path).stem}.jpg"), image, quality)


def make_synthetic(target: Path, n: str, image_size: str) -> None:
    from fundus import make_fundus

    make_fundus(int(n), int(image_size), 0, out_dir=target)


def make_ensemble(
    target: Path, head: str, folds: str, table: str, name: str, weights: str, image_size: str
) -> None:
    from fundus import FoldEnsemble, TransferClassifier, load_image_table

    data = load_image_table(table)
    estimator = TransferClassifier(
        name,
        head,
        weights=weights,
        image_size=int(image_size),
        pool_over="all",
        grades=5,
        epochs=3,
        random_state=0,
    )
    FoldEnsemble(estimator, cv=int(folds), random_state=0).fit(data.paths, data.grades).save(target)


MAKERS = {
    "network": make_network,
    "large": make_large,
    "synthetic": make_synthetic,
    "ensemble": make_ensemble,
}

if __name__ == "__main__":
    MAKERS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
