"""``fundus stress``, and ``fundus train --stress``."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import fundus
from fundus.cli.stress import KINDS

QUICK = ["--kinds", "tone,shift", "--strengths", "2,3"]


def test_the_kinds_in_the_help_are_all():
    assert set(KINDS) == set(fundus.degradations())


@pytest.mark.slow
def test_stress_scores_other_images(document, run, trained, others, tmp_path):
    output = tmp_path / "stress.csv"
    printed = document("stress", trained[0], others, "-o", output, *QUICK)
    assert json.loads((tmp_path / "stress.json").read_text()) == printed
    assert {p.name for p in tmp_path.iterdir()} == {"stress.csv", "stress.json", "stress.png"}
    table = pd.read_csv(output).set_index(["kind", "strength"])
    assert [*table.index] == [
        ("unchanged", 0),
        *(("tone", 2), ("tone", 3), ("shift", 2), ("shift", 3)),
        *(("mean", 2), ("mean", 3)),
    ]
    plain = document("evaluate", trained[0], others, "-o", tmp_path / "e.csv")["scores"]
    assert table.loc[("unchanged", 0), "qwk"] == pytest.approx(plain["qwk"], abs=1e-6)
    assert printed["scores"]["n_patients"] == plain["n_patients"]
    ends = table.loc[("unchanged", 0), ["qwk_low", "qwk_high"]].tolist()
    interval = plain["intervals"]["qwk"]
    assert ends == pytest.approx([interval["low"], interval["high"]], abs=0.03)
    assert printed["scores"]["changed"]["tone"]["3"]["qwk"]["value"] == pytest.approx(
        table.loc[("tone", 3), "qwk"], abs=1e-6
    )


def test_stress_warns_of_training_images_and_keeps_other_files(run, trained, folder, tmp_path):
    output = tmp_path / "stress.csv"
    output.write_text("mine")
    run("stress", trained[0], folder, "-o", output, *QUICK, code=2)
    assert output.read_text() == "mine"
    options = ["--kinds", "tone", "--strengths", "1", "--force"]
    result = run("stress", trained[0], folder, "-o", output, *options)
    assert "ARE AMONG THE TRAINING IMAGES" in result.stderr


def test_what_stress_refuses(run, trained, others, tmp_path):
    output = ["-o", tmp_path / "s.csv"]
    result = run("stress", trained[0], others, *output, "--kinds", "blur,fog", code=2)
    assert "no kind 'fog'" in " ".join(result.stderr.replace("│", " ").split())
    run("stress", trained[0], others, *output, "--strengths", "0", code=2)
    run("stress", tmp_path / "none", others, *output, code=1)
    data = tmp_path / "data"
    for grade in range(2):
        (data / f"class{grade}").mkdir(parents=True)
        for file in sorted((others / f"class{grade}").iterdir())[:2]:
            (data / f"class{grade}" / file.name).write_bytes(file.read_bytes())
    broken = sorted((data / "class0").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:300])
    result = run("stress", trained[0], data, *output, *QUICK, code=1)
    assert broken.name in result.stderr
    assert not (tmp_path / "s.csv").exists()
    run("stress", trained[0], data, *output, *QUICK, "--on-error", "skip")
    assert pd.read_csv(tmp_path / "s.csv")["n_images"].tolist() == [3] * 7
    assert broken.name in (tmp_path / "skipped.csv").read_text()


@pytest.mark.slow
def test_a_stress_that_is_killed_leaves_no_half_file(run, trained, others, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    output = tmp_path / "stress.csv"
    result = run("stress", trained[0], others, "-o", output, *QUICK)
    assert "mean 3" in result.stdout

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", killed)
    words = ["stress", trained[0], others, "-o", output, *QUICK, "--seed", "1"]
    assert run(*words, code=130).stderr.count("Replacing") == 3
    # the document is written last: without it, the other files may be of two runs
    assert {p.name for p in tmp_path.iterdir()} == {"stress.csv", "stress.png"}
    assert len(pd.read_csv(output)) == 7


@pytest.mark.slow
def test_train_scores_a_few_kinds_out_of_fold(document, run, folder, logistic, trained, tmp_path):
    cache = ["--cache-dir", trained[0].parent / "cache"]
    out = tmp_path / "run"
    printed = document("train", folder, *logistic, "--out", out, *cache, "--stress")
    found = printed["stress"]
    assert found["out_of_fold"]
    assert set(found["changed"]) == {"tone", "resolution", "zoom"}
    plain = printed["out_of_fold"]
    assert found["unchanged"]["qwk"]["value"] == pytest.approx(plain["qwk"])
    kappas = [found["changed"][kind]["2"]["qwk"]["value"] for kind in found["changed"]]
    assert found["mean_of_kinds"]["2"]["qwk"]["value"] == pytest.approx(np.mean(kappas))
    table = pd.read_csv(out / "scores.csv").set_index(["of", "score"])
    assert table.loc[("stress", "mean 2: qwk"), "value"] == pytest.approx(np.mean(kappas), abs=1e-6)
    assert table.loc[("stress", "mean 2: qwk"), "low"] < np.mean(kappas)
    assert json.loads((out / "metrics.json").read_text())["stress"] == found
    assert (out / "stress.png").read_bytes().startswith(b"\x89PNG")
    assert "stress.png" in printed["files"]
    assert trained[1]["stress"] is None
    # a run that began before there was the option may go on without it
    metrics = json.loads((trained[0] / "metrics.json").read_text())
    del metrics["settings"]["stress"]
    old = tmp_path / "old"
    old.mkdir()
    (old / "metrics.json").write_text(json.dumps(metrics))
    run("train", folder, *logistic, "--out", old, *cache, "--resume")
    run("train", folder, *logistic, "--out", old, *cache, "--resume", "--stress", code=2)


def test_help_loads_no_numpy():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom fundus.cli import app\n"
        "assert CliRunner().invoke(app, ['stress', '--help']).exit_code == 0\n"
        "print({'numpy', 'keras', 'tensorflow', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
