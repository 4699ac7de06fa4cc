"""Folders and tables as they are shared: the commands' words about them."""

import json
import re
import shutil

import pandas as pd
import pytest


@pytest.fixture
def shared(folder, tmp_path):
    """Copy the photographs under other names, grade by grade; return how."""

    def make(name, *, grades=5, top=tmp_path / "data"):
        k = 0
        for grade in range(grades):
            for file in sorted((folder / f"class{grade}").iterdir()):
                target = top / name.format(grade=grade, k=k, stem=file.stem)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
                k += 1
        return top

    return make


def warnings_of(result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]


@pytest.mark.slow
def test_advice_about_parts_of_a_split_works(run, logistic, shared, others, tmp_path):
    top = shared("train/{grade}/{stem}.jpeg")
    shutil.copytree(others, top / "test")
    said = run("train", top, *logistic, "--out", tmp_path / "run", code=1).stderr
    assert f"`fundus train {top}/train --validation {top}/test`" in said
    assert f"`fundus evaluate RUN {top}/test`" in said
    out = ["--out", tmp_path / "run", "--cache-dir", tmp_path / "cache"]
    run("train", top / "train", *logistic, *out, "--validation", top / "test")
    assert len(pd.read_csv(tmp_path / "run" / "validation.csv")) == 20
    run("evaluate", tmp_path / "run", top / "test", "-o", tmp_path / "results.csv")
    assert len(pd.read_csv(tmp_path / "results.csv")) == 20


@pytest.mark.slow
def test_folders_0_and_1_alone_are_two_grades_if_told(run, logistic, shared, tmp_path):
    top = shared("{grade}/{stem}.jpeg", grades=2)
    options = [*logistic, "--cache-dir", tmp_path / "cache", "--folds", "2"]
    result = run("train", top, *options, "--out", tmp_path / "five")
    (said,) = [line for line in warnings_of(result) if "alone" in line]
    assert "pass --grades 2 to make the scale two long; pass --grades 5 if they do not" in said
    again = run("train", top, *options, "--out", tmp_path / "two", "--grades", "2")
    assert not [line for line in warnings_of(again) if "alone" in line]
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["data"]["class_names"] == ["0", "1"]


def test_predict_passes_over_folders_of_the_system(document, trained, others, tmp_path):
    new = tmp_path / "new"
    shutil.copytree(others / "class0", new / "eyes")
    n = len(list((new / "eyes").iterdir()))
    for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", ".trash", "lost+found"):
        shutil.copytree(others / "class1", new / name)
    (new / "eyes" / "._x.jpg").write_bytes(b"\0\5\x16\7")
    assert document("predict", trained[0], new, "-o", tmp_path / "r.csv")["n_images"] == n


@pytest.mark.slow
def test_evaluate_finds_names_in_another_case_and_folder(document, trained, shared, tmp_path):
    top = shared("deep/{grade}/IM{k:03d}.JPEG")
    names = sorted(path.stem for path in top.rglob("*.JPEG"))
    grades = {path.stem: int(path.parent.name) for path in top.rglob("*.JPEG")}
    table = pd.DataFrame({"image": [name.lower() for name in names]})
    table["grade"] = [grades[name] for name in names]
    table.to_csv(top / "labels.csv", index=False)
    printed = document("evaluate", trained[0], top / "labels.csv", "-o", tmp_path / "r.csv")
    assert printed["scores"]["n_images"] == len(names) == 40
    assert pd.read_csv(tmp_path / "r.csv")["target"].tolist() == table["grade"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "plan", "audit", "evaluate"])
def test_one_patient_for_everybody(run, logistic, trained, shared, tmp_path, command):
    top = shared("class{grade}/scan_left_{k:02d}.jpeg")
    options = {
        "train": [top, *logistic, "--out", tmp_path / "run"],
        "plan": [top, *logistic[:8], "--head", "logistic"],
        "audit": [
            top,
            *logistic[2:6],  # the network
            "--folds",
            "2",
            "--no-near-duplicates",
            "--out",
            tmp_path / "audit.csv",
        ],
        "evaluate": [trained[0], top, "-o", tmp_path / "results.csv"],
    }[command] + ["--cache-dir", tmp_path / "cache"]
    said = run(command, *options, code=1).stderr
    assert "'scan', as 'scan_left_00.jpeg' does" in said
    assert "pass --patients-unknown ok" in said
    result = run(command, *options, "--patients-unknown", "ok")
    assert "are unknown" not in result.stderr


@pytest.mark.slow
def test_guessed_patients_are_told_and_named_ones_not(run, logistic, folder, shared, tmp_path):
    options = [*logistic, "--cache-dir", tmp_path / "cache"]
    result = run("train", folder, *options, "--out", tmp_path / "guessed")
    told = re.search(
        r"20 patients guessed from 40 file names, such as '(\d+)_(left|right)\.jpeg' -> '(\d+)'",
        result.stderr,
    )
    assert told is not None
    assert told[1] == told[3]
    result = run("train", folder / "labels.csv", *options, "--out", tmp_path / "named")
    assert "40 images, 20 patients (" in result.stderr
    top = shared("class{grade}/{k}.jpeg")
    result = run("train", top, *options, "--out", tmp_path / "unknown")
    assert "pass --patients-unknown ok if nobody knows them" in " ".join(warnings_of(result))
    result = run("train", top, *options, "--out", tmp_path / "ok", "--patients-unknown", "ok")
    assert "patients unknown" in result.stderr
    assert not [line for line in warnings_of(result) if "patient" in line]
