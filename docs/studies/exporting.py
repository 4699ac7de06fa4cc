"""How far exported models are from the models they are of, on photographs; docs/exporting.md.

    python docs/studies/exporting.py                                  20 drawn photographs
    python docs/studies/exporting.py --photographs idrid_train/labels.csv

The recommended grader, with each backbone whose weights are here, is fitted on the photographs from
the 21st on, exported to each format, and opened with what runs that format; then grades,
probabilities and severities of the first 20 are compared. What it is fitted on decides how good the
grades are, and not how well they are kept, so it is fitted on few and with one view of each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich import print

from fundus import load_image_table, make_fundus, make_grader
from fundus.export.checking import differences, pictures_of, predictions_of
from fundus.export.folder import export_model
from fundus.export.formats import FORMATS
from fundus.tracing.mixin import trace_model

COMPARED = 20
BACKBONES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "tiny")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="table of graded photographs")
    parser.add_argument("--fitted-on", type=int, default=60)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--formats", nargs="+", default=tuple(FORMATS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.photographs is None:
            data = make_fundus(COMPARED + options.fitted_on, 512, 0, out_dir=f"{folder}/drawn")
        else:
            data = load_image_table(options.photographs)
        for backbone in options.backbones:
            compare(data, backbone, options, Path(folder))


def compare(data, backbone: str, options: argparse.Namespace, folder: Path) -> None:
    """Print a line for each format."""
    grader = make_grader(random_state=0).set_params(
        cv=2, estimator__backbone=backbone, estimator__augment_views=1
    )
    if backbone == "tiny":
        grader.set_params(estimator__weights="fixed", estimator__stages=None)
    rows = slice(COMPARED, COMPARED + options.fitted_on)
    grader.fit(data.paths[rows], data.grades[rows])
    photographs = data.paths[:COMPARED]
    expected = predictions_of(grader, photographs)
    pictures = pictures_of(photographs, trace_model(grader)[1].recipe)
    for to in options.formats:
        start, out = time.perf_counter(), folder / f"{backbone}_{to}"
        export_model(grader, out, to=to)
        seconds, file = time.perf_counter() - start, out / FORMATS[to].file
        away = differences(expected, FORMATS[to].runner(file)(pictures))
        print(
            f"{backbone} {to}: probabilities {away['probabilities']:.1e}, severity "
            f"{away['severity']:.1e}, other grades {away['grade']:.0f} of {len(photographs)}; "
            f"{file.stat().st_size / 1e6:.1f} MB in {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
