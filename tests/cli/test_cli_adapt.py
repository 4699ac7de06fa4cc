"""``fundus adapt``."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from attacks.bundles import sign

import fundus
from fundus.saving.bundle import read_record


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Class folders and a table of 60 photographs of 30 patients of a clinic with a long name."""
    out = tmp_path_factory.mktemp("clínica 眼科")
    fundus.make_fundus(60, 64, 7, out_dir=out, grade_weights=[0.2] * 5)
    return out


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ["--cache-dir", tmp_path_factory.mktemp("cache")]


@pytest.fixture(scope="module")
def quick(cache):
    """Options of an adaptation without resamples."""
    return [*cache, "--n-bootstraps", "0"]


@pytest.fixture(scope="module")
def adapted(trained, site, document, cache, tmp_path_factory):
    """An adapted run and the document that was printed."""
    out = tmp_path_factory.mktemp("runs") / "dr hier é"
    return out, document("adapt", trained[0], site / "labels.csv", "--out", out, *cache)


def told(result):
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.slow
def test_an_adapted_run_is_a_run(adapted, trained, site, others, run, document, cache, tmp_path):
    out, _ = adapted
    assert {p.name for p in out.iterdir()} == {"model", "oof.csv", "scores.csv", "metrics.json"}
    old, new = fundus.load(trained[0] / "model"), fundus.load(out / "model")
    data = fundus.load_image_table(site / "labels.csv")
    assert new.predict_severity(data.paths) == pytest.approx(old.predict_severity(data.paths))
    assert not np.array_equal(new.predict(data.paths), old.predict(data.paths))
    results = tmp_path / "results.csv"
    run("predict", out, site, "-o", results, *cache)
    table = pd.read_csv(results)
    assert np.array_equal(table["grade"].sort_values(), np.sort(new.predict(data.paths)))
    assert {"referable", "grades_set", "defer"} <= set(table)
    point = new.operating_points_["referable"][0]
    assert np.array_equal(table["referable"], table["severity"] >= point.threshold)
    both = [data, fundus.load_image_folder(others)]
    parts = [pd.DataFrame({"path": part.paths, "grade": part.grades}) for part in both]
    pd.concat(parts).to_csv(tmp_path / "both.csv", index=False)
    result = run("evaluate", out, tmp_path / "both.csv", "-o", tmp_path / "scores.csv", *cache)
    assert "60 of 80 images HAVE SET THE CUTPOINTS of this adapted model" in told(result)
    assert "TRAINING" not in told(result)
    found = json.loads((tmp_path / "scores.json").read_text())
    assert (found["training_images"], found["adapting_images"]) == (0, 60)
    quick = ["--kinds", "tone", "--strengths", "1", *cache]
    result = run("stress", out, tmp_path / "both.csv", "-o", tmp_path / "stress.csv", *quick)
    assert "60 of 80 images HAVE SET THE CUTPOINTS of this adapted model" in told(result)
    found = json.loads((tmp_path / "stress.json").read_text())
    assert (found["training_images"], found["adapting_images"]) == (0, 60)
    checks = document("verify", out)
    assert checks["sound"]
    words = {check["check"]: check["found"] for check in checks["checks"]}
    assert f"adapted from {trained[0]} (" in words["adapting images"]
    assert "60 of its 60 images" in words["adapting images"]
    assert "All that was checked is sound." in run("verify", out).stdout


@pytest.mark.slow
def test_what_was_adapted_is_written(adapted, trained, site):
    out, printed = adapted
    document = json.loads((out / "metrics.json").read_text())
    assert document == printed
    assert (document["n_images"], document["n_patients"]) == (60, 30)
    source = document["adapted"]["from"]
    manifest = (trained[0] / "model" / "manifest.json").read_bytes()
    assert source["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    assert source["run"] == str(trained[0])
    assert source["about"]["settings"]["head"] == "logistic"
    assert document["adapted"]["date"][:2] == "20"
    assert read_record(out / "model")["about"]["adapted"] == document["adapted"]
    assert sum(fold["n_images"] for fold in document["folds"]) == 60
    goals = [p["goal"] for p in document["operating_points"]["referable"]]
    assert goals == [0.9, 0.9]
    table = pd.read_csv(out / "oof.csv")
    assert table["file"].tolist() == pd.read_csv(site / "labels.csv")["path"].tolist()
    scores = pd.read_csv(out / "scores.csv").set_index(["of", "score"])["value"]
    kappa = fundus.quadratic_weighted_kappa(table["target"], table["prediction"])
    assert scores["after", "qwk"] == pytest.approx(kappa, abs=1e-6)
    kappa = fundus.quadratic_weighted_kappa(table["target"], table["before"])
    assert scores["before", "qwk"] == pytest.approx(kappa, abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Adapting LOWERS")
@pytest.mark.usefixtures("whole_intervals")
def test_the_same_as_in_python(adapted, trained, site):
    model = fundus.load(trained[0] / "model")
    found = fundus.adapt(model, fundus.load_image_table(site / "labels.csv"))
    saved = fundus.load(adapted[0] / "model")
    assert np.array_equal(found.model.ensemble_.cutpoints_, saved.ensemble_.cutpoints_)
    assert found.to_dict()["changes"] == adapted[1]["changes"]


@pytest.mark.slow
def test_the_table_is_shown_and_an_adapted_run_is_adapted(
    adapted, site, run, quick, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = run(
        "adapt", adapted[0], site, "--sensitivity", 0.8, "--seed", 3,
        *quick,
    )  # fmt: skip
    for words in ("Adapted on 60 images of 30 patients", "quadratic weighted kappa", "difference",
                  "referable at sensitivity 0.8", "30 patients are few"):  # fmt: skip
        assert words in result.stdout
    (out,) = (tmp_path / "runs").iterdir()
    again = fundus.load(out / "model")
    assert type(again.ensemble_.estimator_).__name__ == "FoldEnsemble"
    assert json.loads((out / "metrics.json").read_text())["adapted"]["from"]["about"]["adapted"]


@pytest.mark.slow
def test_folders_that_are_refused(trained, adapted, site, run, quick, tmp_path):
    before = (trained[0] / "metrics.json").read_bytes()
    for out, why in (
        (trained[0], "is the run that is adapted, which stays as it is"),
        (trained[0] / "model", "is the run that is adapted"),
        (trained[0] / "model" / "new", "is the run that is adapted"),
        (adapted[0], "exists and is not an empty folder"),
    ):
        result = run("adapt", trained[0], site, "--out", out, *quick, code=2)
        assert why in told(result)
    (tmp_path / "cut" / "resume").mkdir(parents=True)
    result = run("adapt", trained[0], site, "--out", tmp_path / "cut", *quick, code=2)
    assert "holds a run that was interrupted" in told(result)
    assert (trained[0] / "metrics.json").read_bytes() == before
    (tmp_path / "empty").mkdir()
    run("adapt", trained[0], site, "--out", tmp_path / "empty", "--quiet", *quick)
    assert (tmp_path / "empty" / "metrics.json").is_file()


@pytest.mark.slow
def test_runs_that_are_refused(trained, site, run, quick, tmp_path):
    out = tmp_path / "out"
    gone = shutil.copytree(trained[0], tmp_path / "gone")
    (gone / "metrics.json").unlink()
    assert "not a complete run" in told(run("adapt", gone, site, "--out", out, *quick, code=1))
    assert "There is no run" in told(run("adapt", tmp_path / "no", site, "--out", out, code=1))
    assert not out.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gone"]


@pytest.mark.slow
def test_nothing_is_written_where_data_do_not_do(trained, site, run, quick, tmp_path):
    out = tmp_path / "out"
    table = pd.read_csv(site / "labels.csv")
    options = ["--image-dir", site, "--out", out, *quick]

    def refused(rows, *more, code=1):
        rows.to_csv(tmp_path / "some.csv", index=False)
        return told(run("adapt", trained[0], tmp_path / "some.csv", *options, *more, code=code))

    assert "No photograph has grade 3 severe NPDR" in refused(table[table["grade"] != 3])
    assert "--missing-grades never" in refused(table[table["grade"] != 3])
    assert "few to fit cutpoints on" in refused(table[:12])
    one = refused(table[:2])
    assert "at least 20 are needed" in one
    assert "50 are needed" in refused(table, "--min-patients", "50")
    few = refused(table, "--min-patients", "1", code=2)  # in the words of typer, old or new
    assert "greater than or equal to 2" in few or "x>=2" in few
    assert "row 1 (" in refused(table.assign(grade=7))
    missing = refused(table.assign(grade=table["grade"].where(table.index != 4)))
    assert "row 5" in missing
    wrong = refused(table, "--grades", "3", code=2)
    assert "the run has 5 grades" in wrong
    assert not out.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["some.csv"], "nothing is left over"


@pytest.mark.slow
def test_a_grade_that_is_missing_may_be(trained, site, run, document, quick, tmp_path):
    table = pd.read_csv(site / "labels.csv")
    table[table["grade"] != 3].to_csv(tmp_path / "some.csv", index=False)
    printed = document(
        "adapt", trained[0], tmp_path / "some.csv", "--image-dir", site, "--out", tmp_path / "out",
        "--missing-grades", "never", *quick,
    )  # fmt: skip
    assert printed["data"]["n_true"][3] == 0
    data = fundus.load_image_folder(site)
    assert 3 not in fundus.load(tmp_path / "out" / "model").predict(data.paths)


@pytest.mark.slow
def test_files_that_cannot_be_read_are_set_aside(trained, site, run, quick, tmp_path):
    data = shutil.copytree(site, tmp_path / "data")
    broken = sorted((data / "class0").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:300])
    command = ["adapt", trained[0], data, "--out", tmp_path / "out", *quick]
    assert broken.name in told(run(*command, code=1))
    assert not (tmp_path / "out").exists()
    run(*command, "--on-error", "skip")
    assert broken.name in (tmp_path / "out" / "skipped.csv").read_text()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["n_images"] == 59
    assert len(pd.read_csv(tmp_path / "out" / "oof.csv")) == 59


@pytest.mark.slow
def test_training_images_are_told(trained, folder, run, quick, tmp_path):
    result = run("adapt", trained[0], folder, "--out", tmp_path / "out", *quick)
    assert "40 of 40 images ARE AMONG THE TRAINING IMAGES of this model" in told(result)
    assert "Adapt on other images." in told(result)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["save", "write_json"])
def test_it_is_written_whole_or_not_at_all(trained, site, run, quick, tmp_path, monkeypatch, where):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    module = {"save": "fundus.saving.bundle", "write_json": "fundus.cli.files"}[where]
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{where}", interrupted)
        result = run("adapt", trained[0], site, "--out", tmp_path / "out", *quick, code=130)
    assert "Interrupted" in told(result)
    assert list(tmp_path.iterdir()) == []
    # what a killed process leaves is a hidden folder, which the next one removes
    killed = tmp_path / ".out.0123abcd.part"
    killed.mkdir()
    (killed / "lock").touch()
    run("adapt", trained[0], site, "--out", tmp_path / "out", *quick)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_changed_record_is_found(adapted, run, tmp_path):
    bad = shutil.copytree(adapted[0], tmp_path / "bad")
    digests = bad / "model" / "adapting_images.csv"
    digests.write_text(digests.read_text() + "0" * 64 + ",0\n")
    sign(bad / "model")
    assert "must have the 60 images that the model was adapted on. Got 61" in told(
        run("verify", bad, code=1)
    )
    record = json.loads((bad / "model" / "model.json").read_text())
    record["about"]["adapted"] = 3
    (bad / "model" / "model.json").write_text(json.dumps(record))
    sign(bad / "model")
    assert "not what adapt writes" in told(run("verify", bad, code=1))


@pytest.mark.slow
def test_a_model_saved_in_python(site, photographs, run, document, quick, tmp_path):
    model = fundus.TransferClassifier("tiny", "logistic", weights="fixed", grades=5)
    model.fit(photographs.paths, photographs.grades).save(tmp_path / "model")
    printed = document("adapt", tmp_path / "model", site, "--out", tmp_path / "out", *quick)
    change = printed["changes"]["referable at sensitivity 0.9: sensitivity"]
    assert change["before"] is None
    assert change["after"]["value"] > 0.5
    assert printed["cutpoints"]["before"] is None
    names = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert "adapting_images.csv" in names
    assert "training_images.csv" not in names, "which they are, is not known"
    assert fundus.load(tmp_path / "out" / "model").predict([photographs.paths[0]]).shape == (1,)
