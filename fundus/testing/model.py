"""`check_model`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fundus.data.synthetic.photograph import draw_fundus
from fundus.grades.foreign import as_grader
from fundus.hookspecs import ModelSpec
from fundus.images.formats import image_kind
from fundus.plugins.models import MANIFEST, opened, size_of
from fundus.plugins.registry import Entry
from fundus.saving import bundle
from fundus.testing.checks import attempt, check_predictions, expect, registered, run_checks

#: Largest size of a model in a package, in bytes; package indexes take a hundred times as much.
MOST_BYTES = 100_000_000

#: Edge of the photographs that are graded, in pixels.
EDGE = 256


def check_model(
    model: str | ModelSpec, *, most_bytes: int = MOST_BYTES, trusted: Sequence[str] = ()
) -> None:
    """Check that a ready grader loads, predicts, and says what its users must know.

    Parameters
    ----------
    model : str or ModelSpec
        A registered name, or a record.
    most_bytes : int, default=100_000_000
        Largest size of its folder.
    trusted : sequence of str, default=()
        Types of its heads that skops does not know, as in `fundus.load`. Those who load the model
        by its name would have to name them too, so that most models must do without.

    Raises
    ------
    AssertionError
        If it does not; the message says what to change.
    UnknownNameError
        If no model has the name.
    """
    with registered("model", ModelSpec, model) as entry:
        run_checks(ModelCase(entry, most_bytes, trusted), MODEL_CHECKS)


@dataclass
class ModelCase:
    """A ready grader under test."""

    entry: Entry
    most_bytes: int = MOST_BYTES
    trusted: Sequence[str] = ()

    @property
    def what(self) -> str:
        """Start of messages."""
        return f"The model {self.entry.spec.name!r}"

    @property
    def folder(self) -> Path:
        """Where it is."""
        return Path(self.entry.spec.folder)

    @cached_property
    def model(self) -> Any:
        """The model, loaded as users load it."""
        advice = "Save it again, and copy its folder whole."
        with attempt(f"{self.what}: loading it", advice), opened(self.entry) as folder:
            return bundle.load(folder, trusted=self.trusted)


def _check_card(case: ModelCase) -> None:
    spec = case.entry.spec
    expect(
        spec.scores,
        f"{case.what}: 'scores' must say what it was worth, on at least one set, with an interval.",
    )
    for score in spec.scores:
        expect(
            re.search(r"\d", score.photographs),
            f"{case.what}: the photographs of a score must be counted, as in '293 photographs of "
            f"147 patients'. Got {score.photographs!r}.",
        )
    expect(
        spec.licence.strip().lower() not in ("unknown", "none", "?"),
        f"{case.what}: 'licence' must name a licence. Got {spec.licence!r}: without one nobody may "
        "use the model.",
    )


def _check_files(case: ModelCase) -> None:
    advice = "Name the folder that 'save' has written."
    with attempt(f"{case.what}: its folder", advice), opened(case.entry) as folder:
        reader = bundle.open_bundle(folder)
        bundle.read_model(reader)
        reader.check_the_rest()
    found = size_of(folder)
    expect(
        found <= case.most_bytes,
        f"{case.what}: its folder must have at most {case.most_bytes:,} bytes. Got {found:,}.",
    )
    listed = {*reader.digests, MANIFEST}
    more = sorted(path.name for path in folder.rglob("*") if path.name not in listed)
    expect(
        not more,
        f"{case.what}: its folder must hold the files of its {MANIFEST} alone. Got {more} too.",
    )
    images = sorted(name for name in listed if image_kind((folder / name).read_bytes()))
    expect(
        not images,
        f"{case.what}: no photograph may be in its folder. Got {images}.",
    )


def _check_digest(case: ModelCase) -> None:
    digest = hashlib.sha256((case.folder / MANIFEST).read_bytes()).hexdigest()
    expect(
        case.entry.spec.digest == digest,
        f"{case.what}: 'digest' must be the SHA-256 of its {MANIFEST}, so that another model in "
        f"its place is refused: {digest!r}. Got {case.entry.spec.digest!r}.",
    )


def _check_paths(case: ModelCase) -> None:
    text = (case.folder / bundle.MODEL).read_text(encoding="utf-8")
    found = re.findall(r'"((?:/|[A-Za-z]:\\\\|~/)[^"/\\]+[/\\][^"]*)"', text)
    expect(
        not found,
        f"{case.what}: its {bundle.MODEL} must name no folder of the machine it was made on. Got "
        f"{found[:3]}: leave them out of 'about'.",
    )


def _check_prediction(case: ModelCase) -> None:
    grader = as_grader(case.model)
    expect(
        grader.takes_images,
        f"{case.what}: it must take photographs, as commands give them; put a backbone into it.",
    )
    for reader in grader.readers():
        reader.model.set_params(cache=False)
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_fundus(grade, image_size=EDGE, rng=rng) for grade in range(5)])
    with attempt(f"{case.what}: predicting synthetic photographs", "It must take any size."):
        check_predictions(case.model, drawn[:, : EDGE // 4, : EDGE // 4], case.what)
        check_predictions(case.model, drawn[:, :, : EDGE // 2], case.what)
        severity = check_predictions(case.model, drawn, case.what)
        again = case.model.predict_severity(drawn[::-1])[::-1]
    expect(
        np.allclose(severity, again, atol=1e-3),
        f"{case.what}: a photograph must have one severity, whatever lies beside it. Got "
        f"differences up to {np.abs(severity - again).max():.3g}.",
    )


MODEL_CHECKS: dict[str, Callable[[Any], None]] = {
    "card": _check_card,
    "files": _check_files,
    "digest": _check_digest,
    "paths": _check_paths,
    "prediction": _check_prediction,
}
