"""``fundus explain``."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

import fundus


@pytest.fixture
def few(folder, tmp_path):
    """Three photographs, one with a name that is not ASCII."""
    place = tmp_path / "photographs"
    place.mkdir()
    files = sorted(folder.rglob("*.jpeg"))[:3]
    for name, file in zip(("a.jpeg", "b.jpeg", "глаз 眼.jpeg"), files, strict=True):
        (place / name).write_bytes(file.read_bytes())
    return place


@pytest.mark.slow
def test_maps_of_a_run(document, run, trained, few, tmp_path):
    out = tmp_path / "maps"
    printed = document("explain", trained[0], few, "--out", out, "--arrays")
    assert printed["n_images"] == 3
    assert (printed["of"], printed["methods"]) == ("severity", {"exact": 3})
    table = pd.read_csv(out / "explained.csv")
    assert table["id"].tolist() == ["a", "b", "глаз 眼"]
    named = {*table["map"], *table["disagreement"], *table["arrays"], "explained.csv"}
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == named
    assert imread(out / "глаз 眼.png").shape[:2] == (64, 64)
    run("predict", trained[0], few, "-o", tmp_path / "grades.csv")
    grades = pd.read_csv(tmp_path / "grades.csv")
    np.testing.assert_allclose(table["severity"], grades["severity"], atol=1e-4)
    model = fundus.load(trained[0] / "model")
    found = model.explain([str(few / "b.jpeg")])
    with np.load(out / "b.npz") as held:
        np.testing.assert_allclose(held["map"], found.map(0), atol=1e-6)
    # a second run replaces its own files, says so, and writes the same
    again = run("explain", trained[0], few, "--out", out, "--arrays")
    assert again.stderr.count("Replacing") == 10
    assert pd.read_csv(out / "explained.csv").equals(table)


def test_one_photograph_and_one_grade(run, trained, few, tmp_path):
    out = tmp_path / "maps"
    result = run("explain", trained[0], few / "a.jpeg", "-o", out, "--grade", "2")
    assert "Maps of the grade 2 on 1 photographs" in " ".join(result.stdout.split())
    table = pd.read_csv(out / "explained.csv")
    assert table[["id", "of", "method"]].values.tolist() == [["a", "grade 2", "exact"]]
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "disagreement", "explained.csv"]
    result = run("explain", trained[0], few, "-o", out, "--grade", "five", code=2)
    assert "no grade 'five'" in " ".join(result.stderr.replace("│", " ").split())
    result = run("explain", trained[0], few, "-o", out, "--method", "hirescam", code=0)
    assert set(pd.read_csv(out / "explained.csv")["method"]) == {"hirescam"}


def test_a_broken_file_is_named_or_set_aside(run, trained, few, tmp_path):
    out = tmp_path / "maps"
    broken = few / "b.jpeg"
    broken.write_bytes(broken.read_bytes()[:200])
    result = run("explain", trained[0], few, "-o", out, code=1)
    assert "b.jpeg" in result.stderr
    assert not out.exists() or not any(out.iterdir())
    run("explain", trained[0], few, "-o", out, "--on-error", "skip")
    assert pd.read_csv(out / "explained.csv")["id"].tolist() == ["a", "глаз 眼"]
    assert "b.jpeg" in (out / "skipped.csv").read_text()


def test_other_files_and_photographs_stay(run, trained, few, tmp_path):
    out = tmp_path / "maps"
    out.mkdir()
    (out / "a.png").write_bytes(b"mine")
    run("explain", trained[0], few, "-o", out, code=2)
    assert (out / "a.png").read_bytes() == b"mine"
    photograph = (few / "a.jpeg").rename(few / "a.png").read_bytes()
    result = run("explain", trained[0], few, "-o", few, "--force", code=2)
    assert "would be lost" in " ".join(result.stderr.replace("│", " ").split())
    assert (few / "a.png").read_bytes() == photograph
    run("explain", tmp_path / "none", few, "-o", out, code=1)


def test_a_run_that_is_killed_leaves_no_half_file(run, trained, few, tmp_path, monkeypatch):
    import matplotlib.image

    out = tmp_path / "maps"
    run("explain", trained[0], few, "-o", out)
    before = {p: p.read_bytes() for p in out.rglob("*.png")}
    write, count = matplotlib.image.imsave, []

    def killed(*arguments, **options):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        write(*arguments, **options)

    monkeypatch.setattr("matplotlib.image.imsave", killed)
    run("explain", trained[0], few, "-o", out, "--grade", "1", code=130)
    # the table is written last: without it, maps may be of two runs
    assert not (out / "explained.csv").exists()
    changed = [p.name for p, content in before.items() if p.read_bytes() != content]
    assert changed == ["a.png"]


def test_maps_stay_inside_their_folder(run, trained, few, tmp_path):
    """Photographs of one name in two folders, far from the table, and one that is listed twice."""
    folders = [tmp_path / "elsewhere" / name for name in ("a", "b")]
    for folder, photograph in zip(folders, sorted(few.iterdir()), strict=False):
        folder.mkdir(parents=True)
        (folder / f"1{photograph.suffix}").write_bytes(photograph.read_bytes())
    paths = [str(next(folder.iterdir())) for folder in folders]
    table = tmp_path / "tables" / "new.csv"
    table.parent.mkdir()
    pd.DataFrame({"path": [*paths, paths[0]]}).to_csv(table, index=False)
    before = set((tmp_path / "elsewhere").rglob("*"))
    out = tmp_path / "maps"
    run("explain", trained[0], table, "--out", out)
    found = pd.read_csv(out / "explained.csv")
    assert found["map"].nunique() == 3
    assert all((out / name).is_file() for name in found["map"])
    assert set((tmp_path / "elsewhere").rglob("*")) == before


def test_help_loads_no_numpy():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom fundus.cli import app\n"
        "assert CliRunner().invoke(app, ['explain', '--help']).exit_code == 0\n"
        "print({'numpy', 'keras', 'tensorflow', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
