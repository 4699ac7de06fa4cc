"""A run as a document: what it says, whatever the run lacks, and how a browser shows it."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browsing import opened
from PIL import Image

from fundus.documents.blocks import Command, Points, Table, Text
from fundus.documents.card import model_card
from fundus.documents.html import to_html
from fundus.documents.markdown import to_markdown
from fundus.documents.photographs import moved
from fundus.documents.sections import command_of, report_document
from fundus.documents.words import limits
from fundus.reporting.bootstrap import Interval, Measure
from fundus.reporting.displays.grading import GradingDisplay
from fundus.reporting.record import RunRecord
from fundus.reporting.report import make_report
from fundus.reporting.screening import screening_report
from fundus.reporting.stressed import StressScore

NAME = "eyes & <b>others | ä"


def made(folder: Path, *, n: int = 60, grades: int = 5, patients: bool = True) -> RunRecord:
    """The record of a run on photographs that do not exist, with real scores."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, grades, n)
    severity = true + rng.normal(0, 0.8, n)
    pred = np.clip(np.rint(severity), 0, grades - 1).astype(int)
    groups = np.arange(n) // 2 if patients else None
    names = [f"class{k}" for k in range(grades)]
    report = make_report(
        true, pred, n_grades=grades, class_names=names, severity=severity, groups=groups,
        n_resamples=100,
    )  # fmt: skip
    found = report.to_dict()
    found["screening"] = (
        screening_report(true, severity, groups=groups, n_resamples=100).to_dict()
        if grades == 5
        else None
    )
    folder.mkdir(exist_ok=True)
    (folder / "eyes.csv").touch()
    GradingDisplay(report).plot().figure_.savefig(folder / "confusion.png")
    files = [f"{NAME} {k}.jpg" for k in range(n)]
    table = pd.DataFrame(
        {"file_name": files, "target": true, "prediction": pred, "fold": np.arange(n) % 3,
         "file": files, "grade": pred, "severity": severity}
    )  # fmt: skip
    table.to_csv(folder / "oof.csv", index=False)
    metrics = {
        "fundus": "0.1.0",
        "settings": {"data": str(folder / "eyes.csv"), "recipe": "fast", "backbone": "tiny",
                     "head": "ridge", "cutpoints": False, "epochs": None, "out": str(folder)},
        "data": {"n_images": n, "n_patients": n // 2 if patients else None, "class_names": names,
                 "n_true": np.bincount(true, minlength=grades).tolist(), "n_skipped": 1,
                 "n_called_ungradable": 0},
        "folds": [{"fold": k, "n_images": n // 3, "qwk": 0.5 + k / 10} for k in range(3)],
        "out_of_fold": found, "validation": None, "stress": None, "sites": None,
        "seconds": 12.3, "files": {"oof.csv": "predictions", "confusion.png": "confusion matrix"},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return RunRecord(folder, metrics)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> RunRecord:
    return made(tmp_path_factory.mktemp("run") / "dr")


def documented(record: RunRecord):
    return report_document(record, versions={"keras": "3"})


def texts(document) -> str:
    blocks = [block for section in document.sections for block in section.blocks]
    found = []
    for block in blocks:
        if isinstance(block, Text | Command):
            found.append(block.text)
        elif isinstance(block, Points):
            found += block.items
        elif isinstance(block, Table):
            found += [block.caption, *block.header, *(cell for row in block.rows for cell in row)]
    return "\n".join(found)


def section(document, name):
    (found,) = [one for one in document.sections if one.name == name]
    return found


def test_the_numbers_are_those_of_the_run(record):
    document, found = documented(record), record.metrics["out_of_fold"]
    cards = {what: value for what, value, _ in document.cards}
    assert cards["quadratic weighted kappa"] == f"{found['qwk']:.2f}"
    assert cards["grades that are right"] == f"{100 * found['accuracy']:.0f} %"
    scores = next(b for b in section(document, "grading").blocks if isinstance(b, Table))
    shown = {row[0]: row[1:] for row in scores.rows}
    ends = found["intervals"]["qwk"]
    assert shown["quadratic weighted kappa"] == (
        f"{found['qwk']:.3f}",
        f"{ends['low']:.3f} to {ends['high']:.3f}",
    )
    said = texts(document)
    point = found["screening"]["referable"]["operating_points"][0]["sensitivity"]["value"]
    assert f"they find {100 * point:.0f} % (" in said
    assert "60 photographs of 30 patients" in said
    assert "fold 1\n20\n0.600" in said


def test_the_largest_errors_stand_first(record):
    blocks = section(documented(record), "errors").blocks
    (table,) = [b for b in blocks if isinstance(b, Table)]
    found = record.predictions.assign(
        away=lambda t: (t["grade"] - t["target"]).abs(),
        far=lambda t: (t["severity"] - t["target"]).abs(),
    )
    wrong = found[found["away"] > 0].sort_values(["away", "far"], ascending=False)
    assert [row[0] for row in table.rows] == wrong["file_name"].tolist()[:16]
    assert f"{(found['away'] >= 2).sum()} photograph" in blocks[0].text


def test_the_command_repeats_the_run(record):
    words = shlex.split(command_of(record.metrics["settings"]))
    assert words[:3] == ["fundus", "train", record.metrics["settings"]["data"]]
    assert words[3:9] == ["--recipe", "fast", "--backbone", "tiny", "--head", "ridge"]
    assert "--no-cutpoints" in words
    assert "--epochs" not in words


def test_what_people_called_things_is_never_read_as_markup(record):
    document = documented(record)
    page = to_html(document)
    assert "eyes &amp; &lt;b&gt;others | ä" in page
    assert "<b>others" not in page
    text = to_markdown(document, beside=record.path)
    row = next(line for line in text.splitlines() if "others" in line and line.startswith("|"))
    assert "eyes & \\<b>others \\| ä" in row
    assert "![" in text
    assert "(<confusion.png>)" in text
    assert json.loads(json.dumps(document.to_dict()))["sections"][0]["name"] == "summary"


def test_it_needs_nothing_else_and_is_small(record):
    page = to_html(documented(record))
    links = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "<script" not in page
    assert "url(" not in page
    assert len(page) < 5_000_000


def test_sheets_of_photographs_are_jpeg(tmp_path):
    record = made(tmp_path / "run")
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(record.path / "errors.png")
    record.metrics["files"] |= {"errors.png": "the worst", "errors.csv": "all of them"}
    page = to_html(documented(record))
    (content,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    shown = Image.open(io.BytesIO(base64.b64decode(content)))
    assert shown.size == (600, 600)
    assert len(content) < (record.path / "errors.png").stat().st_size
    assert "errors.csv" not in texts(documented(record))


def test_the_least_certain_are_those_of_the_runs_table(tmp_path):
    record = made(tmp_path / "run")
    table = record.predictions.head(20).assign(margin=np.arange(20) / 100)
    table.to_csv(record.path / "uncertain.csv", index=False)
    record.metrics["files"]["uncertain.csv"] = "the least certain"
    tables = [b for b in section(documented(record), "errors").blocks if isinstance(b, Table)]
    rows = tables[-1].rows
    assert [row[0] for row in rows] == table["file"].tolist()[:16]
    assert [row[3] for row in rows][:2] == ["0.000", "0.010"]


def test_what_the_run_lacks_is_said(tmp_path):
    record = made(tmp_path / "run", patients=False)
    document = documented(record)
    said = texts(document)
    assert "Patients are unknown" in said
    assert "1 file could not be used" in said
    assert "60 photographs cannot be found any more, such as eyes & <b>" in said
    assert len(moved(record)) == 60
    (tmp_path / "run" / f"{NAME} 7.jpg").touch()
    assert len(moved(record)) == 59
    assert any("was not measured here" in one for one in limits(record))
    assert "The model gives no probabilities." in said
    (record.path / "confusion.png").unlink()
    record.metrics["files"]["roc.pdf"] = "ROC curves"
    said = texts(documented(record))
    assert "confusion.png is not in the run any more" in said
    assert "The figure is in roc.pdf, which a page cannot show" in said


def test_runs_with_stress_sites_and_ungradable_photographs(tmp_path):
    record = made(tmp_path / "run")
    found = record.metrics
    base, tone = (
        StressScore(*what, {"qwk": Measure(kappa, Interval(0.5, 0.9, 0.95, True))}).to_dict()
        for what, kappa in ((("unchanged", 0), 0.81), (("tone", 2), 0.61))
    )
    found["stress"] = {"unchanged": base, "changed": {"tone": {"2": tone}}, "notes": []}
    site = {"group": "north", "n_images": 20, "n_trained": 40, "qwk": base["qwk"]}
    found["sites"] = {"column": "camera", "groups": [site]}
    found["out_of_fold"]["screening"] |= {"n_ungradable": 3, "n_called_ungradable": 2}
    found["data"] |= {"n_skipped": 5, "n_called_ungradable": 2}
    said = texts(documented(record))
    assert "tone 2\n0.61 (0.50 to 0.90)" in said
    assert "north\n20\n40\n0.81 (0.50 to 0.90)" in said
    assert "or called ungradable by graders (2)" in said
    assert "3 photographs that could not be graded count as referred" in said
    assert "3 files could not be used" in said
    assert "reached by construction" in said


def test_two_grades_of_one_image_each(tmp_path):
    record = made(tmp_path / "run", n=4, grades=2)
    document = documented(record)
    assert "screening" not in [one.name for one in document.sections]
    assert "class1" in to_html(document)


AUDIT = {
    "issues": {
        "unreadable": 1, "set_aside": 0, "duplicate": 2, "near_duplicate": 4,
        "conflicting_labels": 2, "label_suspect": 14, "no_field_of_view": 0, "dark": 0,
        "blurred": 1,
    },
    "looked_at": ["copies", "labels", "near_duplicates", "quality"],
    "n_pairs": 3, "n_pairs_apart": 2,
}  # fmt: skip


def audited(folder: Path) -> RunRecord:
    """A run whose training has recorded an audit."""
    record = made(folder)
    labels = pd.DataFrame(
        {"file": [f"{NAME} {k}.jpg" for k in range(14)], "kind": "label", "grade": 3,
         "likely_grade": 1, "self_confidence": np.arange(14) / 100, "severity": 1.2,
         "issues": "label_suspect", "fov_share": 0.5, "brightness": 80.0, "sharpness": 4.0,
         "fold": np.arange(14) % 3}
    )  # fmt: skip
    odd = labels.head(1).assign(
        file="=1.png",
        kind="picture",
        issues="near_duplicate;blurred",
        brightness=33.4,
        likely_grade=np.nan,
    )
    pd.concat([labels, odd]).to_csv(folder / "suspects.csv", index=False)
    pairs = pd.DataFrame(
        {"file": ["1e5", "b.png", "c.png"], "other_file": ["<i>", "NA", "d.png"],
         "what": ["copy", "near duplicate", "near duplicate, mirrored"],
         "correlation": [1.0, 0.71, 0.6], "grade": [0, 2, np.nan], "other_grade": [4, 2, 2],
         "patient": "p", "other_patient": "p", "grades_differ": [True, False, False],
         "across_patients": "", "fold": [0, 1, 2], "other_fold": [0, 2, 0]}
    )  # fmt: skip
    pairs.to_csv(folder / "pairs.csv", index=False)
    for name in ("suspects", "pairs"):
        Image.fromarray(np.zeros((40, 90, 3), np.uint8)).save(folder / f"{name}.png")
        record.metrics["files"] |= {f"{name}.png": "drawn", f"{name}.csv": "all of them"}
    record.metrics["audit"] = json.loads(json.dumps(AUDIT))
    return record


def tables_of(document, name="data") -> dict[str, Table]:
    return {b.caption: b for b in section(document, name).blocks if isinstance(b, Table)}


def test_the_audit_of_a_training_is_in_its_report(tmp_path):
    record = audited(tmp_path / "run")
    document = documented(record)
    found = tables_of(document)
    counts = {row[0]: row[1] for row in found["What the audit found"].rows}
    assert counts == {
        "unreadable": "1", "duplicate": "2", "near duplicate": "4", "conflicting labels": "2",
        "label suspect": "14", "no field of view": "0", "dark": "0", "blurred": "1",
    }  # fmt: skip
    pairs = found["Copies and near duplicates"].rows
    assert pairs[0] == ("1e5", "<i>", "copy", "1.00", "0 no apparent DR / 4 PDR", "0 and 0")
    assert pairs[1][1:] == ("NA", "near duplicate", "0.71", "2 moderate NPDR", "1 and 2")
    assert pairs[2][4] == "unknown / 2 moderate NPDR"
    labels = found["The first 12 of 14 doubtful labels"].rows
    assert [row[0] for row in labels] == [f"{NAME} {k}.jpg" for k in range(12)]
    assert labels[4][1:] == ("3 severe NPDR", "1 mild NPDR", "0.040", "fold 1")
    assert found["1 odd picture"].rows == [("=1.png", "blurred", "33", "4.0")]
    (strong,) = [
        b.text for b in section(document, "data").blocks if isinstance(b, Text) and b.strong
    ]
    assert strong.startswith("2 pairs of copies or near duplicates were in two folds")
    assert "2 pairs of them, which makes the scores too good" in "\n".join(limits(record))
    names = [b.file.name for b in document.pictures()]
    assert names.index("pairs.png") < names.index("suspects.png")
    assert all(b.wide for b in document.pictures() if b.file.stem in ("pairs", "suspects"))
    page = to_html(document)
    assert "&lt;i&gt;" in page
    assert "<i>" not in page
    kept = json.loads(json.dumps(document.to_dict()))["sections"][1]["blocks"]
    shown = {caption: [list(row) for row in table.rows] for caption, table in found.items()}
    assert {b["caption"]: b["rows"] for b in kept if b["kind"] == "table"} == shown
    assert "| 1e5 | \\<i> | copy |" in to_markdown(document, beside=tmp_path)


def test_an_audit_that_could_not_be_made_is_said(tmp_path):
    record = made(tmp_path / "run")
    record.metrics["settings"] |= {"image_dir": "eyes here", "patient_column": "who"}
    record.metrics["audit"] = {"why": "'7.jpg' cannot be read"}
    blocks = section(documented(record), "data").blocks
    said = next(b for b in blocks if isinstance(b, Text) and "audited" in b.text)
    assert said.strong
    assert "'7.jpg' cannot be read" in said.text
    words = shlex.split(blocks[-1].text)
    assert words[:2] == ["fundus", "audit"]
    assert words[3:] == ["--image-dir", "eyes here", "--patient-column", "who"]
    for grades, given in ((["none", "some"], "none,some"), (3, "3")):
        record.metrics["settings"]["grades"] = grades
        blocks = section(documented(record), "data").blocks
        assert shlex.split(blocks[-1].text)[-2:] == ["--grades", given]


def test_lists_of_an_audit_that_are_gone_or_damaged(tmp_path):
    record = audited(tmp_path / "run")
    (record.path / "pairs.csv").unlink()
    (record.path / "suspects.png").unlink()
    found = tables_of(documented(record))
    assert "Copies and near duplicates" not in found
    assert "The first 12 of 14 doubtful labels" in found
    said = texts(documented(record))
    assert "The table pairs.csv is not in the run any more" in said
    assert "The figure suspects.png is not in the run any more" in said
    (record.path / "suspects.csv").write_text("kind,grade\nlabel,3\n")
    said = texts(documented(record))
    assert "suspects.csv' cannot be read, it lacks the column 'file'" in said
    assert "What the audit found" in tables_of(documented(record))


def test_a_run_without_an_audit_gives_what_it_has_kept(tmp_path):
    """Copies by the digests, and labels by the out-of-fold predictions; no photograph is there."""
    record = made(tmp_path / "run", n=40)
    said = texts(documented(record))
    assert "none can be made of it" in said  # without the table of digests
    table = record.predictions
    proba = np.full((40, 5), 0.2)
    proba[0] = np.eye(5)[(table["target"][0] + 2) % 5]
    for k in range(5):
        table[f"probability_{k}"] = proba[:, k]
    table.to_csv(record.path / "oof.csv", index=False)
    digests = [f"{k:064x}" for k in range(40)]
    digests[9], folds = digests[4], table["fold"]
    (record.path / "model").mkdir()
    kept = pd.DataFrame({"pixels_sha256": digests, "fold": folds})
    kept.to_csv(record.path / "model" / "training_images.csv", index=False)
    document = documented(RunRecord(record.path, record.metrics))
    found = tables_of(document)
    (pair,) = found["Copies and near duplicates"].rows
    assert pair[:2] == (f"{NAME} 4.jpg", f"{NAME} 9.jpg")
    assert pair[5] == f"{folds[4]} and {folds[9]}"
    assert found["What the audit found"].rows[0][:2] == ("duplicate", "2")
    (labels,) = [b for caption, b in found.items() if "doubtful label" in caption]
    assert labels.rows[0][0] == f"{NAME} 0.jpg"
    said = texts(document)
    assert "Not looked at: near duplicates, light, sharpness and field of view" in said
    assert "blurred" not in said
    assert "1 pair of copies or near duplicates was in two folds" in said


def test_names_that_are_not_utf_8_and_the_errors_of_validation(tmp_path):
    record = made(tmp_path / "run")
    head = b"file,target,prediction,error,severity,severity_error,margin,fold\n"
    rows = b"\xff.png,3,1,2,1.25,1.75,0.2,0\n007,0,1,1,0.9,0.9,0.3,1\n"
    for name in ("uncertain.csv", "validation-errors.csv"):
        in_order = (
            rows if name == "uncertain.csv" else b"".join(rows.splitlines(keepends=True)[::-1])
        )
        (record.path / name).write_bytes(head + in_order)
        record.metrics["files"][name] = "ranked"
    for name in ("validation-errors.png", "validation-uncertain.png"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(record.path / name)
        record.metrics["files"][name] = "of --validation, drawn"
    found = dict(record.metrics["out_of_fold"])
    record.metrics["validation"] = found | {"n_images": 50, "training_images": 0}
    document = documented(record)
    tables = tables_of(document, "validation")
    rows = tables["The 2 largest errors of 2 photographs graded wrong"].rows
    assert rows == [
        ("007", "0 no apparent DR", "1 mild NPDR", "0.90"),
        ("\udcff.png", "3 severe NPDR", "1 mild NPDR", "1.25"),
    ]
    scores = {row[0]: row[1] for row in tables["Scores"].rows}
    assert scores["quadratic weighted kappa"] == f"{found['qwk']:.3f}"
    names = [b.file.name for b in section(document, "validation").blocks if hasattr(b, "file")]
    assert names == ["validation-errors.png", "validation-uncertain.png"]
    to_html(document).encode("utf-8", "replace")
    oof = record.path / "oof.csv"
    oof.write_bytes(oof.read_bytes().replace(NAME.encode(), b"\xff"))
    again = RunRecord(record.path, record.metrics)
    assert again.predictions["file"][3] == "\udcff 3.jpg"
    to_html(documented(again)).encode("utf-8", "replace")


def test_photographs_inside_an_svg_are_small(tmp_path):
    from matplotlib.figure import Figure

    record = made(tmp_path / "run")
    noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)
    noise = noise.repeat(8, axis=0).repeat(8, axis=1)
    figure = Figure((4, 3), dpi=100)
    ax = figure.subplots()  # pictures on the same axes become one, with nothing between them
    for k in range(2):
        ax.imshow(noise[:, 200 * k :][:, :200], extent=(300 * k, 300 * k + 200, 0, 400))
    ax.set(xlim=(0, 500), ylim=(0, 400))
    ax.set_axis_off()
    figure.savefig(record.path / "errors.svg")
    record.metrics["files"] |= {"errors.svg": "the worst"}
    page = to_html(documented(record))
    (content,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    drawn = base64.b64decode(content)
    assert b"data:image/jpeg;base64," in drawn
    assert len(drawn) < 0.8 * (record.path / "errors.svg").stat().st_size
    inside = re.findall(rb"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=\s]+)", drawn)
    before = (record.path / "errors.svg").read_bytes()
    for old, new in zip(re.findall(rb"image/png;base64,([^\"]+)", before), inside, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(old))).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        expected = np.asarray(Image.alpha_composite(white, picture).convert("RGB"), dtype=float)
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(new))), dtype=float)
        assert np.abs(shown - expected).mean() < 20  # colours are kept at half the size
        assert (expected == 255).all(axis=2).mean() > 0.1


def test_undefined_scores_are_words(tmp_path):
    record = made(tmp_path / "run")
    found = record.metrics["out_of_fold"]
    found["qwk"], found["intervals"]["qwk"]["low"] = None, None
    document = documented(record)
    assert document.cards[0][:2] == ("quadratic weighted kappa", "undefined")
    assert "kappa of undefined" in texts(document)


def test_the_card_says_what_the_run_says(record):
    card = model_card(record)
    assert card.startswith("# dr")
    assert f"{record.metrics['out_of_fold']['qwk']:.3f} (" in card
    for heading in ("Model", "Intended use", "Training data", "Evaluation", "Limits"):
        assert f"## {heading}" in card
    assert "It is not a medical device" in card


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(record, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(to_html(documented(record)), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(page, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    size = {"width": width, "height": 900}
    with opened(page, color_scheme=scheme, viewport=size) as shown:
        found = Axe().run(shown)
        assert found.violations_count == 0, found.generate_report()
        assert len(found.response["passes"]) > 15
        # nothing but tables is wider than the window
        assert shown.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_keys_alone_reach_every_section(page):
    with opened(page) as shown:
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.className") == "skip"
        shown.keyboard.press("Enter")
        assert shown.url.endswith("#main")
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.className").startswith("scroll")
    with opened(page) as shown:
        reached = []
        for _ in range(20):
            shown.keyboard.press("Tab")
            reached.append(shown.evaluate("document.activeElement.hash"))
        assert {"#summary", "#errors", "#limits"} <= set(reached)


@pytest.mark.slow
def test_it_prints_without_its_links(page):
    with opened(page) as shown:
        shown.emulate_media(media="print")
        assert not shown.locator("nav").is_visible()
        assert shown.locator("h1").is_visible()
