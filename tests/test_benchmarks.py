"""The benchmarks measure whole process trees, compute their rows rightly, and all run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("psutil", reason="psutil, of the extra 'bench', is not installed")

import benchmarks.machine as machine_module
from benchmarks.cases import GROUPS, all_cases
from benchmarks.inputs import find_inputs
from benchmarks.machine import commit
from benchmarks.measure import measure
from benchmarks.rows import Medians, rows
from benchmarks.run import COLUMNS, Bench
from benchmarks.settings import FULL, SMALL
from benchmarks.table import BEGIN, END, newest_runs, report, write_report

ROOT = Path(__file__).resolve().parents[1]

CHILD = """
import time
held = bytearray(200 * 2**20)
held[::4096] = b"x" * len(held[::4096])
end = time.process_time() + 0.4
while time.process_time() < end:
    pass
"""

PARENT = """
import subprocess, sys, time
running = [subprocess.Popen([sys.executable, "-c", sys.argv[1]]) for _ in range(2)]
print([process.wait() for process in running])
raise SystemExit(3)
"""


@pytest.mark.slow
def test_memory_and_cpu_of_children_count(tmp_path):
    log = tmp_path / "log"
    usage = measure([sys.executable, "-c", PARENT, CHILD], log=log)
    assert log.read_text() == "[0, 0]\n"
    assert usage.exit_code == 3
    assert 0.8 <= usage.cpu_s < 4
    assert usage.wall_s >= 0.4
    assert usage.peak_bytes > 200 * 2**20
    lone = measure([sys.executable, "-c", CHILD], log=log)
    assert 200 * 2**20 < lone.peak_bytes < 300 * 2**20
    assert lone.cpu_s < usage.cpu_s


def line(case, wall=1.0, *, repeat=0, error="", qwk=None, images=100, rss=1000.0, **figures):
    return {
        "started": "2026-01-01T00:00:00+00:00",
        "commit": "c1",
        "machine": "m",
        "versions": json.dumps({"keras": "3"}),
        "load_average": 0.1,
        "groups": "A",
        "case": case,
        "repeat": repeat,
        "images": images,
        "wall_s": wall,
        "cpu_s": wall,
        "peak_rss_mib": rss,
        "forward_passes": figures.pop("forward_passes", 0),
        "decodes": figures.pop("decodes", 0),
        "qwk": qwk,
        "figures": json.dumps(figures),
        "error": error,
    }


MADE = [
    line("chapter's loop", 3000, qwk=0.75),
    line("fundus logistic, cold", 10, qwk=0.74),  # faster, but below the loop's kappa
    *(line("fundus svm, cold", w, qwk=0.76, repeat=k) for k, w in enumerate((20, 50, 900))),
    line("fundus svm, cold", 1, qwk=0.76, repeat=3, error="exit code 1: failed"),
    line("fundus ridge, cold", 60, qwk=0.77),
    line("fundus softmax, cold", 30, qwk=0.77),
    line("fundus softmax, warm", 10, qwk=0.77, decodes=0, forward_passes=2),
    line("Keras trainable=False", 300, qwk=0.75),
    line("fundus grid", 60),
    line("fundus grid, one candidate", 20),
    line("heads alone", 50, fit_s=40.0),
    line("Keras pipeline grid", 1200),
    line("fundus extraction, large", extract_s=2.0, images=64),
    line("limit, large", limit_per_s=40.0, decode_cpu_s=0.04, forward_cpu_s=0.01),
    line("OpenCV loop, large", extract_s=8.0),
    line("fundus fine-tuning, net", epoch_s=2.0, forward_s=0.1, step_s=0.5, steps=4.0, trained=7.0),
    line("Keras fine-tuning, net", epoch_s=7.2, forward_s=1.0, trained=7.0),
    line("fundus extraction, 10 images", images=10, rss=1010.0, matrix_bytes=10 * 2**20),
    line("fundus extraction, 100 images", images=100, rss=1300.0, matrix_bytes=100 * 2**20),
]


def test_rows_of_a_made_run():
    found = {(row.group, row.what.split(",")[0]): row for row in rows(pd.DataFrame(MADE))}
    best = found["A", "equal or better kappa"]
    assert (best.value, best.verdict) == (60, "met")
    assert best.remark.startswith("fundus svm, cold: kappa 0.760")
    assert found["B", "softmax head against Keras with `trainable=False`"].value == 10
    assert found["B", "softmax head against Keras with `trainable=False`"].verdict == "**not met**"
    assert found["C", "equal or better kappa"].verdict == "not run"
    assert found["C", "softmax head against Keras with `trainable=False`"].value == 30
    assert found["C", "decodes of a warm run"].verdict == "met"
    assert found["C", "forward passes of a warm run"].verdict == "**not met**"
    assert found["D", "grid of `logistic` and `svm` against a Keras pipeline"].value == 20
    bound = found["D", "grid against one candidate and the heads' own fits"]
    assert (bound.value, bound.verdict) == (1.0, "met")
    assert found["E", "features of large JPEGs against a loop of `predict`"].value == 4
    assert found["F", "extraction against its limit"].verdict == "not run"  # IDRiD
    shares = [row.value for row in rows(pd.DataFrame(MADE)) if row.group == "F"]
    assert shares == [pytest.approx(32 / 40), None]
    tuning = found["G", "fine-tuning against its bound"]
    assert tuning.value == pytest.approx(3.6 / ((1 + 0.2) / 0.3))
    assert tuning.verdict == "met"
    memory = next(row for row in rows(pd.DataFrame(MADE)) if row.group == "I")
    assert memory.value == pytest.approx(1.2)
    assert memory.verdict == "**not met**"
    assert found["J", '`fundus --help` against `python -c "import numpy"`'].value is None


def test_no_head_that_reaches_the_chapter_is_no_gain():
    lines = pd.DataFrame([line("chapter's loop", 3000, qwk=0.9), *MADE[1:]])
    row = rows(lines)[0]
    assert (row.value, row.verdict) == (0, "**not met**")


def test_networks_that_train_different_weights_are_not_compared():
    lines = pd.DataFrame(
        [
            line(
                "fundus fine-tuning, net",
                epoch_s=2.0,
                forward_s=0.1,
                step_s=0.5,
                steps=4.0,
                trained=7.0,
            ),
            line("Keras fine-tuning, net", epoch_s=7.2, forward_s=1.0, trained=8.0),
        ]
    )
    with pytest.raises(ValueError, match="different numbers of weights"):
        rows(lines)


def test_medians_leave_failures_out():
    medians = Medians(pd.DataFrame(MADE))
    assert medians.of("fundus svm, cold", "wall_s") == 50
    with pytest.raises(KeyError):
        medians.of("fundus svm, warm", "wall_s")


@pytest.mark.slow
def test_report_shows_the_last_run_only(tmp_path):
    old = [{**line("heads alone", 5000, fit_s=1.0), "commit": "c0"}]
    results, readme = tmp_path / "results.csv", tmp_path / "README.md"
    again = [line("heads alone", 55, fit_s=40.0)]  # the same repeat, run once more
    pd.DataFrame(old + MADE + again).to_csv(results, index=False)
    readme.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write_report(results, readme)
    text = readme.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\nafter\n")
    assert "commit `c1`" in text
    assert "c0" not in text
    assert "5000" not in text
    assert "| 55.0 |" in text
    assert "| 50.0 (20.0–900) |" in text
    assert (
        "| A | equal or better kappa, against the chapter's loop, cold | 60 × | ≥ 50 × | met |"
        in text
    )
    assert (tmp_path / "wall-time.png").stat().st_size > 1000


def test_cases_that_are_compared_are_of_one_commit_and_machine():
    def at(commit, case, groups, machine="m"):
        return {**line(case), "commit": commit, "groups": groups, "machine": machine}

    lines = pd.DataFrame(
        [
            at("c0", "chapter", "AC"),  # compared with c1's through C, so it is left out
            at("c0", "grid", "D"),
            at("c1", "softmax", "BC", machine="other"),
            at("c1", "softmax", "BC"),
            at("c1", "Keras", "B"),
            at("c2", "tuning", "G"),
        ]
    )
    kept = newest_runs(lines)
    assert list(zip(kept["commit"], kept["case"], strict=True)) == [
        ("c1", "softmax"),
        ("c1", "Keras"),
        ("c0", "grid"),
        ("c2", "tuning"),
    ]
    assert set(kept["machine"]) == {"m"}
    text = report(kept)
    for about in ("B, C: commit `c1`", "D: commit `c0`", "G: commit `c2`"):
        assert about in text


def test_only_changed_code_marks_the_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, "ROOT", tmp_path)
    written = ["README.md", "wall-time.png", "results/results.csv"]
    for name in ["job.py", *written]:
        file = tmp_path / "benchmarks" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=b commit -qm c"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    clean = commit()
    assert len(clean) == 12
    for name in written:
        (tmp_path / "benchmarks" / name).write_text("after")
    assert commit() == clean
    (tmp_path / "benchmarks" / "job.py").write_text("after")
    assert commit() == clean + "+changes"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    from fundus import make_fundus

    data = tmp_path_factory.mktemp("data")
    make_fundus(120, 32, 0, out_dir=data)
    return find_inputs(data, tmp_path_factory.mktemp("work"), SMALL)


@pytest.mark.slow
def test_folds_are_a_partition(inputs):
    tested = np.concatenate([test for _, test in inputs.fold_rows])
    assert sorted(tested) == list(range(120))
    assert json.loads((inputs.folder / "folds.json").read_text()) == inputs.fold_rows


@pytest.mark.parametrize("settings", [FULL, SMALL], ids=["full", "small"])
def test_cases_are_told_apart_and_warm_ones_follow_cold_ones(settings):
    cases = all_cases(settings)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    assert {letter for case in cases for letter in case.groups} == set(GROUPS)
    for k, case in enumerate(cases):
        if case.warm:
            cold = [c for c in cases[:k] if c.cache == case.cache and not c.warm]
            assert [c.groups for c in cold] == [case.groups]


@pytest.mark.slow
def test_a_run_is_written_and_resumed(inputs, tmp_path):
    bench = Bench(inputs, tmp_path / "results.csv", repeats=1)
    assert bench.run("J") == 0
    lines = pd.read_csv(bench.results)
    assert lines.columns.tolist() == list(COLUMNS)
    assert lines["case"].value_counts().tolist() == [SMALL.start_ups] * 3
    assert (lines["wall_s"] > 0).all()
    assert bench.run("J", resume=True) == 0
    assert len(pd.read_csv(bench.results)) == len(lines)
    # as if the run had been killed before its last line
    lines.iloc[:-1].to_csv(bench.results, index=False)
    bench.run("J", resume=True)
    assert pd.read_csv(bench.results)["case"].tolist() == lines["case"].tolist()


#: Runs one case of every contender in one process, so that TensorFlow loads once.
EVERY_CONTENDER = """
import json, os, sys
from importlib import import_module
from pathlib import Path
from benchmarks import inputs
from benchmarks.cases import all_cases
from benchmarks.contenders.__main__ import count_decodes
from benchmarks.settings import SMALL

def made(target, what, *arguments):
    if not target.exists():
        inputs.MAKERS[what](target, *arguments)
    return target

calls = count_decodes()
inputs._made = made
found = inputs.find_inputs(Path(sys.argv[1]), Path(sys.argv[2]), SMALL)
from fundus.frozen.work import work_done
answers = {}
for case in all_cases(SMALL):
    if case.contender in answers or not case.contender or case.warm:
        continue
    job = case.make_job(found)
    os.environ["FUNDUS_CACHE_DIR"] = str(Path(sys.argv[2]) / "cache" / case.contender)
    work_done.clear()
    calls.clear()
    answer = import_module(f"benchmarks.contenders.{case.contender}").run(job)
    answers[case.contender] = [
        answer.predictions, answer.forward_passes, calls["decodes"], answer.figures
    ]
Path(sys.argv[3]).write_text(json.dumps(answers, default=float))
"""


@pytest.mark.slow
def test_every_contender_runs(inputs, tmp_path):
    data = Path(inputs.paths[0]).parents[1]
    out = tmp_path / "answers.json"
    result = subprocess.run(
        [sys.executable, "-c", EVERY_CONTENDER, str(data), str(inputs.folder), str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    answers = json.loads(out.read_text())
    modules = {p.stem for p in (ROOT / "benchmarks" / "contenders").glob("*.py")}
    assert set(answers) == modules - {"__init__", "__main__", "plain", "timing"}
    n, folds = 120, SMALL.folds
    for name in ("chapter", "keras_frozen", "fundus_ensemble"):
        assert len(answers[name][0]) == n, name
    passes = {name: answer[1] for name, answer in answers.items()}
    candidates = 2 * len(SMALL.grid_C)
    assert passes["fundus_ensemble"] == passes["fundus_grid"] == passes["heads_alone"] == n
    assert passes["keras_pipeline_grid"] == candidates * folds * n
    assert passes["keras_frozen"] == SMALL.epochs * (folds - 1) * n + n
    assert passes["scikeras_grid"] == 2 * (SMALL.grid_epochs * (folds - 1) * n + n)
    assert passes["chapter"] == SMALL.chapter_epochs * (folds - 1) * n + n
    tuned = SMALL.finetune[0][2]
    assert passes["fundus_finetune"] == tuned
    assert passes["keras_finetune"] == SMALL.tuning_epochs * tuned
    assert answers["keras_finetune"][3]["trained"] == answers["fundus_finetune"][3]["trained"]
    decodes = {name: answer[2] for name, answer in answers.items()}
    assert decodes["keras_frozen"] == decodes["chapter"] == decodes["keras_pipeline_grid"] == n
    assert decodes["fundus_grid"] == n
    assert decodes["fundus_ensemble"] == 2 * n  # once more for the comparison of pictures
    assert answers["opencv_loop"][3]["extract_s"] > 0
