"""Results never go over what a command reads, and join with the user's tables."""

from __future__ import annotations

import csv
import os
import shutil
import threading

import pandas as pd
import pytest

import fundus
from fundus.cli.files import csv_text, write_csv


@pytest.mark.parametrize("name", ["eye.jpeg", "hard.jpeg", "soft.jpeg"])
def test_a_photograph_is_never_an_output(run, trained, others, tmp_path, name):
    image = tmp_path / "eye.jpeg"
    content = next(others.glob("class2/*.jpeg")).read_bytes()
    image.write_bytes(content)
    if name == "hard.jpeg":
        os.link(image, tmp_path / name)
    if name == "soft.jpeg":
        os.symlink(image, tmp_path / name)
    result = run("predict", trained[0], image, "-o", tmp_path / name, "--force", code=2)
    assert "would be lost" in " ".join(result.stderr.split()).replace("│ │ ", "")
    assert image.read_bytes() == content


def test_a_file_of_the_user_needs_force(run, trained, others, tmp_path):
    image = next(others.glob("class2/*.jpeg"))
    notes = tmp_path / "notes.csv"
    notes.write_text("mine\n")
    run("predict", trained[0], image, "-o", notes, code=2)
    assert notes.read_text() == "mine\n"
    assert "Replacing" in run("predict", trained[0], image, "-o", notes, "--force").stderr
    # now it is one of the command's own
    assert "Replacing" in run("predict", trained[0], image, "-o", notes).stderr


def test_results_in_the_folder_of_the_run_can_be_made_again(run, trained, others, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    image = next(others.glob("class2/*.jpeg"))
    words = ["predict", folder, image, "--on-error", "skip", "-o", folder / "results.csv"]
    run(*words)
    assert "Replacing" in run(*words).stderr
    for name in ("oof.csv", "metrics.json", "model/model.json"):
        before = (folder / name).read_bytes()
        run("predict", folder, image, "-o", folder / name, "--force", code=2)
        assert (folder / name).read_bytes() == before


def test_two_outputs_of_one_name_are_refused(run, trained, others, tmp_path):
    for name in ("scores.json", "skipped.csv"):
        words = ["evaluate", trained[0], others, "--on-error", "skip", "-o", tmp_path / name]
        assert "two things to one file" in _message(run(*words, code=2))
    image = next(others.glob("class2/*.jpeg"))
    words = [trained[0], image, "--on-error", "skip", "-o", tmp_path / "skipped.csv"]
    assert "two things to one file" in _message(run("predict", *words, code=2))
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_option_that_the_command_has(run, others, tmp_path):
    (tmp_path / "notes.csv").write_text("mine\n")
    shown = run("audit", others, "--out", tmp_path / "notes.csv", code=2)
    assert "Invalid value for --out:" in _message(shown)


def _message(result):
    return " ".join(result.stderr.replace("│", " ").split())


def test_predictions_join_with_the_table(run, trained, others, tmp_path):
    paths = sorted(others.glob("*/*.jpeg"))
    labels = pd.DataFrame({"file": [os.path.relpath(path, others) for path in paths]})
    labels["true"] = [int(path.parent.name[-1]) for path in paths]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    words = [trained[0], tmp_path / "labels.csv", "--image-dir", others, "-o", tmp_path / "r.csv"]
    run("predict", *words)
    results = pd.read_csv(tmp_path / "r.csv")
    joined = results.merge(labels, on="file")
    assert joined["file"].tolist() == labels["file"].tolist()
    run_model = fundus.load(trained[0] / "model")
    assert joined["grade"].tolist() == run_model.predict([str(path) for path in paths]).tolist()
    point = trained[1]["out_of_fold"]["screening"]["referable"]["operating_points"][0]
    flagged = joined["severity"] >= point["threshold"]
    assert joined["referable"].tolist() == flagged.tolist()
    sizes = joined["grades_set"].astype(str).str.split(";").map(len)
    assert joined["defer"].tolist() == (sizes > 1).tolist()


def test_text_is_quoted(tmp_path):
    names = ["a\rb.jpg", "=1+1.jpg", 'c"d,e.jpg', "plain.jpg", "@x\n.jpg"]
    frame = pd.DataFrame({"file": names, "score": [0.5, -1.0, float("nan"), 2.0, 3.0]})
    write_csv(frame, tmp_path / "t.csv")
    assert pd.read_csv(tmp_path / "t.csv")["file"].tolist() == names
    with (tmp_path / "t.csv").open(newline="") as stream:
        assert [row[0] for row in csv.reader(stream)][1:] == names
    lines = csv_text(frame, plain_text=True).split("\n")
    assert lines[2] == "'=1+1.jpg,-1.000000"
    parted = csv_text(pd.DataFrame({"set": ["1;2"], "file": ["a\tb"]}))  # by some spreadsheets
    assert parted == 'set,file\n"1;2","a\tb"\n'


def test_links_stay_and_pipes_are_written_to(tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "t.csv"
    target.write_text("old")
    os.symlink(target, tmp_path / "link.csv")
    write_csv(pd.DataFrame({"a": [2]}), tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert target.read_text() == "a\n2\n"
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_csv(pd.DataFrame({"a": [1]}), tmp_path / "pipe")
    reader.join(10)
    assert got == ["a\n1\n"]


def test_what_is_set_aside_joins_with_the_table_too(run, trained, others, tmp_path):
    images = sorted(others.glob("class2/*.jpeg"))[:2]
    for k, image in enumerate(images):
        shutil.copy(image, tmp_path / f"{k}.jpeg")
    labels = pd.DataFrame({"file": ["0.jpeg", "lost.jpeg", "1.jpeg"], "note": [7, 8, 9]})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    out = tmp_path / "out.csv"
    run("predict", trained[0], tmp_path / "labels.csv", "--on-error", "skip", "-o", out)
    graded, aside = pd.read_csv(out), pd.read_csv(tmp_path / "skipped.csv")
    assert graded.merge(labels, on="file")["note"].tolist() == [7, 9]
    assert aside.merge(labels, on="file")["note"].tolist() == [8]
