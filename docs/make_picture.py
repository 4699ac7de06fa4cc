"""Draw ``docs/overview.png``: synthetic photographs of each grade, and a real run's severities.

fundus train labels.csv --recipe fast --head relu --out run/
python docs/make_picture.py run/
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fundus import GRADE_NAMES
from fundus.data.synthetic import draw_fundus
from fundus.reporting.displays import SeverityDisplay, rounding


def main() -> None:
    oof = pd.read_csv(Path(sys.argv[1]) / "oof.csv")
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    photographs, plot = figure.subfigures(2, 1, height_ratios=[1, 2])
    for grade, ax in enumerate(photographs.subplots(1, 5)):
        rng = np.random.default_rng(40 + grade)
        eye = ("left", "right")[grade % 2]
        ax.imshow(draw_fundus(grade, image_size=256, eye=eye, rng=rng))
        ax.set_title(f"{grade} {GRADE_NAMES[grade]}", fontsize=9)
        ax.axis("off")
    photographs.suptitle("Synthetic photographs, by grade", fontsize=10)
    display = SeverityDisplay.from_predictions(
        oof["target"], oof["severity"], boundaries=rounding(len(GRADE_NAMES))
    )
    display.plot(ax=plot.subplots())
    plot.suptitle(
        f"Out-of-fold severity of {len(oof)} real photographs (IDRiD), by true grade", fontsize=10
    )
    figure.savefig(Path(__file__).with_name("overview.png"), dpi=80)


if __name__ == "__main__":
    main()
