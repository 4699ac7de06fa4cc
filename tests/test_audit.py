"""The audit finds what was put into a data set, and the quality measures tell poor copies."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from sklearn.model_selection import PredefinedSplit

from fundus import (
    FeatureExtractor,
    FoldEnsemble,
    TransferClassifier,
    audit_images,
    check_split,
    load_image_table,
    make_fundus,
    patient_grades,
)
from fundus.audit import BLURRED, DARK, LEAST_FOV
from fundus.audit.report import Audit
from fundus.exceptions import (
    DataError,
    DataWarning,
    ImageReadError,
    InvalidGradeError,
    SplitError,
)
from fundus.images import load_image, prepare_array
from fundus.images.quality import MEASURED_AT, measure_quality

TINY = ["--backbone", "tiny", "--weights", "fixed", "--image-size", "32", "--folds", "2"]


@pytest.fixture(scope="module")
def extractor():
    return FeatureExtractor("tiny", weights="fixed", image_size=64)


def write(path, pixels):
    cv2.imwrite(str(path), pixels[:, :, ::-1])
    return str(path)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """20 photographs, and as many faults as there are kinds."""
    folder = tmp_path_factory.mktemp("dirty")
    data = make_fundus(20, 192, 3, out_dir=folder)
    first = load_image(data.paths[0], MEASURED_AT)
    (folder / "copy.jpeg").write_bytes(Path(data.paths[3]).read_bytes())
    (folder / "broken.jpeg").write_bytes(Path(data.paths[3]).read_bytes()[:2000])
    added = {
        "copy.jpeg": (data.grades[3] + 1) % 5,
        "bright.png": data.grades[6],
        "dark.png": 0,
        "black.png": 0,
        "blurred.png": 1,
        "broken.jpeg": 2,
    }
    bright = np.clip(cv2.imread(data.paths[6]) * 1.1, 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / "bright.png"), bright)
    write(folder / "dark.png", (load_image(data.paths[7], MEASURED_AT) * 0.15).astype(np.uint8))
    write(folder / "black.png", np.zeros_like(first))
    write(
        folder / "blurred.png", cv2.GaussianBlur(load_image(data.paths[9], MEASURED_AT), (0, 0), 12)
    )
    table = pd.DataFrame(
        {
            "path": [*data.paths, *(str(folder / name) for name in added)],
            "grade": [*data.grades, *added.values()],
            "patient": [*data.patients, *(f"new {k}" for k in range(len(added)))],
        }
    )
    return table


@pytest.fixture(scope="module")
def audited(dirty, extractor):
    return audit_images(dirty, dirty["grade"], extractor=extractor, cv=2)


def issues_of(audit, name):
    rows = audit.images["path"].map(lambda path: Path(path).name == name)
    (text,) = audit.images.loc[rows, "issues"]
    return set(text.split(";")) - {"label_suspect"}


def test_every_fault_is_found(audited, dirty):
    names = [Path(path).name for path in dirty["path"]]
    assert issues_of(audited, "copy.jpeg") == {"duplicate", "conflicting_labels"}
    assert issues_of(audited, names[3]) == {"duplicate", "conflicting_labels"}
    assert {"near_duplicate"} == issues_of(audited, "bright.png") == issues_of(audited, names[6])
    assert {"dark"} <= issues_of(audited, "dark.png")
    assert {"dark", "blurred", "no_field_of_view"} == issues_of(audited, "black.png")
    assert {"blurred"} <= issues_of(audited, "blurred.png")
    assert issues_of(audited, "broken.jpeg") == {"unreadable"}
    images = audited.images.set_index("path")
    assert "broken.jpeg" in images["reason"].iloc[-1]
    assert images["duplicate_of"].iloc[20] == dirty["path"][3]
    assert images["near_duplicate_of"].iloc[21] == dirty["path"][6]
    assert (audited.count("unreadable"), audited.count("duplicate")) == (1, 2)


def test_untouched_photographs_have_no_issue_of_their_pixels(audited):
    clean = [row for row in range(20) if row not in (3, 6, 7, 9)]
    found = audited.images["issues"].iloc[clean].str.split(";").explode()
    assert set(found) <= {"", "label_suspect"}
    measures = audited.images.iloc[clean]
    assert (measures["fov_share"] > LEAST_FOV).all()
    assert (measures["brightness"] > DARK).all()
    assert (measures["sharpness"] > BLURRED).all()


def test_labels_are_judged_out_of_fold(extractor):
    """A flipped label of an easy task gets the least self-confidence; copies do not vouch."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 40, (60, 32, 32, 3), dtype=np.uint8)
    y = np.arange(60) % 2
    X[y == 1] += 150
    y[[7, 20]] = 1 - y[[7, 20]]
    X[31] = X[7]  # a copy with the same wrong label, and a patient of its own
    y[31] = y[7]
    audit = audit_images(
        X, y, np.arange(60), grades=2, extractor=extractor, cv=3, near_duplicates=False
    )
    least = audit.images["self_confidence"].nsmallest(3).index
    assert set(least) == {7, 20, 31}
    assert set(audit.images.index[audit.has("label_suspect")]) == {7, 20, 31}
    assert audit.images["likely_grade"].loc[[7, 20]].tolist() == [1, 0]
    marked = np.isin(np.arange(60), [7, 20, 40])
    result = audit.enrichment(marked)
    assert (result["n_marked"], result["n_top"], result["found"]) == (3, 6, 2)
    assert result["expected"] == pytest.approx(0.3)
    assert result["p_value"] == pytest.approx(sum(hypergeom.pmf(k, 60, 3, 6) for k in (2, 3)))
    assert result["low"] < 2 / 3 < result["high"]
    with pytest.raises(DataError, match="one value for each of the 60"):
        audit.enrichment([True])


def test_a_grade_no_fold_was_shown_is_not_suspect(extractor, photographs):
    y = np.where(photographs.grades == 4, 3, photographs.grades)
    y[0] = 4
    with pytest.warns(UserWarning, match="least populated class"):
        audit = audit_images(photographs.paths, y, extractor=extractor, cv=3, near_duplicates=False)
    assert np.isnan(audit.images["self_confidence"][0])
    assert "label_suspect" not in audit.images["issues"][0]
    assert audit.images["self_confidence"][1:].notna().all()


def test_less_can_be_asked(extractor, photographs, monkeypatch):
    audit = audit_images(photographs.paths[:1], extractor=extractor)
    assert audit.images["grade"].isna().all()
    assert len(audit.balance()) == 0
    assert audit.to_dict()["n_images"] == 1
    with pytest.warns(DataWarning, match="all images have one grade"):
        audit_images(photographs.paths[:4], [1] * 4, extractor=extractor, near_duplicates=False)
    # neither pairs nor labels: no features
    monkeypatch.setattr(FeatureExtractor, "fit", None)
    quick = audit_images(photographs.frame, photographs.grades, cv=None, near_duplicates=False)
    assert quick.images["self_confidence"].isna().all()


def test_bad_input(extractor, photographs, tmp_path):
    few = {"extractor": extractor, "near_duplicates": False}
    with pytest.raises(SplitError, match="5 folds need at least 5 patients. Got 2"):
        audit_images(photographs.paths, photographs.grades, ["a", "b"] * 20, **few)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        audit_images(photographs.paths, photographs.grades[:3], **few)
    with pytest.raises(ValueError, match="one patient a row. Got 1 for 40 rows"):
        audit_images(photographs.paths, photographs.grades, ["a"], **few)
    with pytest.raises(InvalidGradeError, match="row 2"):
        audit_images(photographs.paths[:3], [0, 1, 7], **few)
    with pytest.raises(ImageReadError, match="None of the 1 images can be read"):
        audit_images([str(tmp_path / "absent.jpeg")], extractor=extractor)


def test_balance_counts_patients_by_their_worst_eye():
    images = pd.DataFrame(
        {"path": list("abcd"), "grade": [0, 2, 1, 1], "patient": list("xxyz"), "issues": ""}
    ).astype({"grade": "Int64"})
    pairs = pd.DataFrame(columns=["first", "second", "correlation", "mirrored"])
    balance = Audit(images, pairs).balance()
    assert balance.to_dict() == {"images": {0: 1, 1: 2, 2: 1}, "patients": {0: 0, 1: 2, 2: 1}}
    assert list(Audit(images, pairs, patients_known=False).balance()) == ["images"]


def test_worst_eye():
    assert patient_grades([3, 0, 1], ["b", "a", "b"]).to_dict() == {"b": 3, "a": 0}
    assert list(patient_grades([3, 0, 1], ["b", "a", "b"]).index) == ["b", "a"]
    with pytest.raises(DataError, match="one length"):
        patient_grades([1, 2], ["a"])
    with pytest.raises(InvalidGradeError, match="grade. Got none in row 1"):
        patient_grades([1, np.nan], ["a", "b"])
    with pytest.raises(DataError, match="patient in every row. Got None in row 0"):
        patient_grades([1, 2], [None, "b"])


def test_quality_of_real_photographs(idrid):
    """Thresholds part photographs from their darkened and blurred copies."""
    for path in idrid["path"][::40]:
        image = load_image(path, MEASURED_AT)
        good = measure_quality(image)
        assert good.fov_share > LEAST_FOV
        assert good.brightness > DARK
        assert good.sharpness > BLURRED
        assert measure_quality((image * 0.15).astype(np.uint8)).brightness < DARK
        blurred = measure_quality(cv2.GaussianBlur(image, (0, 0), 4))
        assert blurred.sharpness < min(BLURRED, good.sharpness / 3)


def test_sharpness_does_not_follow_light_or_size(dirty):
    image = load_image(dirty["path"][0], MEASURED_AT)
    good = measure_quality(image)
    half = measure_quality((image // 2).astype(np.uint8))
    assert half.sharpness == pytest.approx(good.sharpness, rel=0.35)
    assert half.brightness == pytest.approx(good.brightness / 2, rel=0.02)
    wide = cv2.copyMakeBorder(image, 0, 0, 256, 256, cv2.BORDER_CONSTANT)
    padded = measure_quality(prepare_array(wide, MEASURED_AT))
    assert padded.fov_share == pytest.approx(good.fov_share / 4, rel=0.05)


@pytest.fixture
def official(photographs, tmp_path):
    """A Messidor-2-like table with the official split."""
    half = len(photographs.paths) // 2
    table = pd.DataFrame(
        {
            "image_id": photographs.paths,
            "adjudicated_dr_grade": photographs.grades,
            "patient": photographs.patients,
            "Split": ["train"] * half + ["Test"] * half,
        }
    )
    table = table.sort_values("patient", kind="stable").reset_index(drop=True)
    table["Split"] = ["train"] * half + ["Test"] * half
    return table


def test_the_official_split(official):
    data = load_image_table(official)
    cv = data.predefined_split()
    assert isinstance(cv, PredefinedSplit)
    ((train, _),) = check_split(cv, data.frame, data.grades)
    assert train.tolist() == list(range(20))
    model = FoldEnsemble(TransferClassifier("tiny", "logistic", weights="fixed"), cv=cv)
    model.fit(data.frame, data.grades)
    assert (model.oof_fold_ == np.repeat([-1, 0], 20)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="Split"), "Expected one column that tells train from test"),
        (lambda t: t.assign(usage="train"), r"Got \['Split', 'usage'\]"),
        (lambda t: t.assign(Split=["val", *t["Split"][1:]]), "Got 'val' in row 0"),
        (lambda t: t.assign(Split=[None, *t["Split"][1:]]), r"Got (None|nan) in row 0"),
        (lambda t: t.assign(Split="train"), "must have rows of train and of test"),
    ],
)
def test_no_official_split(official, change, message):
    with pytest.raises(DataError, match=message):
        load_image_table(change(official)).predefined_split()


def test_a_named_column(official):
    data = load_image_table(official.rename(columns={"Split": "part"}))
    assert data.predefined_split("part").get_n_splits() == 1
    with pytest.raises(DataError, match="There is no column 'Split'"):
        data.predefined_split("Split")


@pytest.mark.slow
def test_the_command(dirty, tmp_path):
    from typer.testing import CliRunner

    from fundus.cli import app

    table = dirty.assign(disputed=[1, *[0] * (len(dirty) - 1)])
    table.loc[len(table)] = [str(tmp_path / "absent.jpeg"), 1, "gone", 0]
    table.loc[len(table)] = [dirty["path"][0], dirty["grade"][0], "again", 0]
    table.to_csv(tmp_path / "labels.csv", index=False)
    out = tmp_path / "audit.csv"
    arguments = ["audit", str(tmp_path / "labels.csv"), *TINY, "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["n_images"] == len(table)
    assert document["issues"]["unreadable"] == 2  # the truncated and the absent one
    assert document["issues"]["set_aside"] == 1  # one file twice
    assert document["disputed"]["n_marked"] == 1
    rows = pd.read_csv(out).set_index("file")
    assert len(rows) == len(table)
    assert sorted(rows.index) == sorted(table["path"])
    assert list(rows)[:3] == ["grade", "patient", "issues"]
    assert "same file" in rows["reason"].iloc[-1]
    shown = CliRunner().invoke(app, [*arguments, "--no-near-duplicates", "--folds", "0"])
    assert "Audit of 28 images" in shown.output
    assert "disputed" not in shown.output
