"""RetinaMNIST's validation images, graded by the recommended grader: accuracy and macro AUC.

    python docs/studies/retinamnist.py retinamnist.npz

The file is MedMNIST's: 28 px, 1,080 training and 120 validation images; its test images are not
used. None of them chose anything in the recipe. The AUC is MedMNIST's, the mean over the grades of
one against the rest. Intervals are 95 %, by image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich import print

from fundus import evaluate, make_grader


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="retinamnist.npz, of 28 px")
    options = parser.parse_args()
    with np.load(options.file) as arrays:
        train, val = (
            (arrays[f"{part}_images"], arrays[f"{part}_labels"].ravel())
            for part in ("train", "val")
        )
    model = make_grader(random_state=0).fit(*train)
    found = evaluate(model, val)
    for name in ("accuracy", "macro_auc", "qwk"):
        print(f"{name}: {found.report.measures[name]}")


if __name__ == "__main__":
    main()
