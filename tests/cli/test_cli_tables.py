"""Tables as they are shared, on the command line: grades by name, ungradable photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fundus

ORDER = ["No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"]


def graded(folder: Path) -> pd.DataFrame:
    """Paths and grades of class folders."""
    paths = sorted(folder.glob("class*/*"))
    return pd.DataFrame(
        {"file": [str(p) for p in paths], "grade": [int(p.parent.name[-1]) for p in paths]}
    )


@pytest.mark.slow
def test_names_of_grades_in_a_table(document, run, logistic, folder, others, tmp_path):
    table = graded(folder)
    table.assign(grade=[ORDER[g] for g in table["grade"]]).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "run"
    names = ",".join(ORDER)
    printed = document("train", tmp_path / "t.csv", *logistic, "--grades", names, "--out", out)
    assert printed["out_of_fold"]["class_names"] == ORDER
    assert printed["settings"]["grades"] == ORDER
    oof = pd.read_csv(out / "oof.csv")
    assert oof["target"].tolist() == table["grade"].tolist()
    # numbers and names of a table are the same grades to the run
    numbers = graded(others)
    numbers.to_csv(tmp_path / "numbers.csv", index=False)
    numbers.assign(grade=[ORDER[g] for g in numbers["grade"]]).to_csv(
        tmp_path / "names.csv", index=False
    )
    found = [
        document("evaluate", out, tmp_path / f"{kind}.csv", "-o", tmp_path / "e.csv")["scores"]
        for kind in ("numbers", "names")
    ]
    assert found[0] == found[1]
    assert found[0]["n_true"] == np.bincount(numbers["grade"], minlength=5).tolist()
    # the other name of the option
    again = run("plan", tmp_path / "t.csv", *logistic[:8], "--class-folders", names)
    assert "40 images" in again.stderr
    result = run("train", tmp_path / "t.csv", *logistic, "--out", tmp_path / "none", code=1)
    assert "as --grades No_DR,Mild,…" in result.stderr


@pytest.mark.slow
def test_evaluation_of_data_that_calls_the_grades_otherwise(
    document, run, trained, others, tmp_path
):
    table = graded(others)
    named = table.assign(grade=[ORDER[g] for g in table["grade"]])
    table.to_csv(tmp_path / "numbers.csv", index=False)
    named.to_csv(tmp_path / "names.csv", index=False)
    evaluate = ("evaluate", trained[0])
    options = ("-o", tmp_path / "e.csv")
    result = run(*evaluate, tmp_path / "names.csv", *options, code=1)
    assert "as --grades No_DR,Mild,…" in result.stderr
    names = ("--grades", ",".join(ORDER))
    found = [
        document(*evaluate, tmp_path / "numbers.csv", *options),
        document(*evaluate, tmp_path / "numbers.csv", *options, "--grades", "5"),
        document(*evaluate, tmp_path / "names.csv", *options, *names),
    ]
    assert found[0]["scores"] == found[1]["scores"] == found[2]["scores"]
    result = run(*evaluate, tmp_path / "names.csv", *options, "--grades", "a,b", code=2)
    assert "the run has 5 grades" in " ".join(result.stderr.replace("│", " ").split())
    result = run(*evaluate, others, *options, *names, code=1)
    assert "not in --grades No_DR," in result.stderr


def test_one_grade_alone_is_to_be_scored_by_evaluate(run, tiny, folder, tmp_path):
    graded(folder).query("grade == 1").to_csv(tmp_path / "t.csv", index=False)
    result = run("train", tmp_path / "t.csv", *tiny, "--out", tmp_path / "run", code=1)
    assert "or score them with fundus evaluate." in result.stderr
    nowhere = ("--image-dir", tmp_path / "nowhere", "--out", tmp_path / "run")
    result = run("train", tmp_path / "t.csv", *tiny, *nowhere, code=1)
    assert "given as --image-dir" in result.stderr


@pytest.mark.slow
def test_photographs_graded_as_ungradable(document, run, logistic, folder, others, tmp_path):
    table = graded(folder).assign(patient=lambda t: [Path(f).stem.split("_")[0] for f in t["file"]])
    unclear = graded(others).iloc[::4].reset_index(drop=True)
    # two of patients who have graded photographs too, the others of patients who have none
    patients = [*table["patient"].iloc[[0, 25]], "x", "y", "z"]
    unclear = unclear.assign(grade=5, patient=patients)
    pd.concat([table, unclear]).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "run"
    result = run("train", tmp_path / "t.csv", *logistic, "--out", out)
    assert "Set aside 5 of 45 rows whose photograph is graded as ungradable (5)" in result.stderr
    assert "skipped.csv lists them" in result.stderr
    assert "pass --grades 6" in result.stderr
    assert "5 called ungradable" in " ".join(result.stdout.split())
    assert len(pd.read_csv(out / "skipped.csv")) == 5
    oof = pd.read_csv(out / "oof.csv")
    assert len(oof) == 40

    model = fundus.load(out / "model").ensemble_
    fold_of = dict(zip(table["patient"], oof["fold"], strict=True))
    folds = [fold_of.get(patient, k % 3) for k, patient in enumerate(patients)]
    asked = [
        model.estimators_[fold].predict_severity([file])[0]
        for fold, file in zip(folds, unclear["file"], strict=True)
    ]
    severity = np.concatenate([oof["severity"], asked])
    positive = np.concatenate([oof["target"] >= 2, np.ones(5, bool)])
    scores = pd.read_csv(out / "scores.csv").set_index("score")["value"]
    n_pairs = positive.sum() * (~positive).sum()
    above = severity[positive][:, None] - severity[~positive]
    auc = ((above > 0).sum() + 0.5 * (above == 0).sum()) / n_pairs
    assert scores["referable auc"] == pytest.approx(auc, abs=2 / n_pairs)

    unclear.assign(grade="Ungradable").to_csv(tmp_path / "u.csv", index=False)
    pd.concat([graded(others).iloc[1::4], pd.read_csv(tmp_path / "u.csv")]).to_csv(
        tmp_path / "e.csv", index=False
    )
    output = tmp_path / "evaluation.csv"
    printed = document("evaluate", out, tmp_path / "e.csv", "-o", output)
    screening = printed["scores"]["screening"]
    assert screening["n_called_ungradable"] == 5
    assert printed["skipped"] == str(tmp_path / "skipped.csv")
    averaged = model.predict_severity(unclear["file"].tolist())
    rows = pd.read_csv(output)
    positive = rows["target"] >= 2
    for point in screening["referable"]["operating_points"]:
        hits = (rows["severity"][positive] >= point["threshold"]).sum()
        hits += (averaged >= point["threshold"]).sum()
        assert point["sensitivity"]["value"] == pytest.approx(hits / (positive.sum() + 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grades", "1"], "at least 2 grades"),
        (["--grades", "a,,b"], "names separated by commas"),
        (["--grades", "a,a"], "different names"),
        (["--grades", "a,b", "--class-folders", "a,c"], "as --grades does"),
        (["--grades", "4", "--class-folders", "a,b"], "the number of names"),
    ],
)
def test_scales_that_are_none(run, tiny, folder, tmp_path, options, message):
    result = run("train", folder, *tiny, *options, "--out", tmp_path / "run", code=2)
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_what_is_no_table_is_called_by_its_name(run, tiny, tmp_path):
    (tmp_path / "eyes.zip").write_bytes(b"PK\x03\x04" + b"\0" * 60)
    result = run("train", tmp_path / "eyes.zip", *tiny, "--out", tmp_path / "run", code=1)
    assert "found a zip archive; unpack it" in result.stderr
