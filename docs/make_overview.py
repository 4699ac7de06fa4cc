"""Draw ``docs/overview.png``: synthetic photographs of each grade, and a real run's severities.

fundus train labels.csv --out run/
python docs/make_overview.py run/
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fundus
from fundus import GRADE_NAMES, SeverityDisplay
from fundus.data.synthetic import draw_fundus
from fundus.reporting.displays.boundaries import boundaries_of
from fundus.reporting.record import read_record
from fundus.runtime.figures import SMALL, TITLE, new_figure


def main() -> None:
    run = Path(sys.argv[1])
    oof = read_record(run).predictions
    figure = new_figure(9.6, 7.6)
    photographs, plot = figure.subfigures(2, 1, height_ratios=[1, 2.3])
    for grade, ax in enumerate(photographs.subplots(1, 5)):
        rng = np.random.default_rng(40 + grade)
        eye = ("left", "right")[grade % 2]
        ax.imshow(draw_fundus(grade, image_size=256, eye=eye, rng=rng))
        ax.set_title(f"{grade} {GRADE_NAMES[grade]}", fontsize=SMALL)
        ax.axis("off")
    photographs.suptitle("Synthetic photographs, by grade", fontsize=TITLE, x=0.01, ha="left")
    SeverityDisplay.from_predictions(
        oof["target"],
        oof["severity"],
        boundaries=boundaries_of(fundus.load(run / "model")),
        ax=plot.subplots(),
    )
    plot.suptitle(
        f"Severities of {len(oof)} real photographs (IDRiD), each by a model that did not see it",
        fontsize=TITLE, x=0.01, ha="left",
    )  # fmt: skip
    figure.savefig(Path(__file__).with_name("overview.png"), dpi=100)


if __name__ == "__main__":
    main()
