"""The folder of a run as ``fundus train`` leaves it, of gradings that are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fundus._version import __version__
from fundus.reporting.record import RunRecord, read_record
from fundus.reporting.report import make_report
from fundus.reporting.run_files import METRICS, OOF
from fundus.reporting.screening import screening_report


def toy_run(folder: Path, *, n_images: int = 40, n_grades: int = 5) -> RunRecord:
    """Write the documents of a run on photographs that do not exist.

    Parameters
    ----------
    folder : Path
        New.
    n_images : int, default=40
        Two of each patient.
    n_grades : int, default=5

    Returns
    -------
    RunRecord

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as place:
    ...     run = toy_run(Path(place) / "run")
    ...     run.metrics["data"]["n_images"], len(run.predictions)
    (40, 40)
    """
    rng = np.random.default_rng(0)
    true = np.arange(n_images) % n_grades
    severity = true + rng.normal(0, 0.8, n_images)
    pred = np.clip(np.rint(severity), 0, n_grades - 1).astype(int)
    proba = np.full((n_images, n_grades), 0.1 / n_grades)
    proba[np.arange(n_images), pred] += 0.9
    groups, names = np.arange(n_images) // 2, [f"class{k}" for k in range(n_grades)]
    scored: dict[str, Any] = {"severity": severity, "groups": groups, "n_resamples": 100}
    found = make_report(
        true, pred, n_grades=n_grades, class_names=names, proba=proba, **scored
    ).to_dict()
    found["screening"] = None
    if n_grades == 5:
        screened = screening_report(true, severity, groups=groups, n_resamples=100)
        found["screening"] = screened.to_dict()
    files = [f"{k}.jpg" for k in range(n_images)]
    columns = {"file_name": files, "target": true, "prediction": pred}
    columns |= {"fold": np.arange(n_images) % 2, "file": files, "grade": pred}
    columns |= {"severity": severity, "patient": groups}
    columns |= {f"probability_{k}": proba[:, k] for k in range(n_grades)}
    metrics = {
        "fundus": __version__,
        "settings": {"data": "photographs", "backbone": "tiny", "head": "ridge"},
        "data": {
            "n_images": n_images,
            "n_patients": n_images // 2,
            "class_names": names,
            "n_true": np.bincount(true, minlength=n_grades).tolist(),
            "n_skipped": 0,
            "n_called_ungradable": 0,
        },
        "folds": [{"fold": k, "n_images": n_images // 2, "qwk": found["qwk"]} for k in range(2)],
        "out_of_fold": found,
        "seconds": 1.0,
        "files": {OOF: "predictions"},
    }
    folder.mkdir()
    pd.DataFrame(columns).to_csv(folder / OOF, index=False)
    (folder / METRICS).write_text(json.dumps(metrics), encoding="utf-8")
    return read_record(folder)
