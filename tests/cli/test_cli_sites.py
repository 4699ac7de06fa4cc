"""``fundus train --site-column`` and ``fundus evaluate --by``."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils import Bunch

import fundus
import fundus.cli.results
import fundus.cli.sites
from fundus.cli.options import Calibrate
from fundus.cli.runs import INTERRUPTED
from fundus.cli.settings import Settings
from fundus.exceptions import SplitError
from fundus.meta.resume import KeptFold
from fundus.reporting.report import make_report

SITES = ["Hôpital", "=Ω", "c"]


@pytest.fixture(scope="module")
def rows(evenly_graded):
    """80 photographs; the patients of every worst grade are at two sites in turn."""
    data = evenly_graded
    frame = data.frame[["path", "patient"]].assign(grade=data.grades, age=np.arange(80) / 2 + 30)
    worst = frame.groupby("patient")["grade"].transform("max")
    place = frame["patient"].groupby(worst).transform(lambda who: pd.factorize(who)[0])
    return frame.assign(site=[SITES[int(k) % 2] for k in place])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ["--cache-dir", tmp_path_factory.mktemp("cache")]


def written(rows, folder):
    rows.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def finished(rows, cache, document, logistic, no_figures, tmp_path_factory):
    """A run with sites, and its document."""
    base = tmp_path_factory.mktemp("sites")
    table, out = written(rows, base), base / "run"
    options = [*logistic, *cache, "--site-column", "site"]
    return table, out, options, document("train", table, *options, "--out", out)


@pytest.mark.slow
def test_sites_are_scored_by_models_trained_without_them(finished, rows):
    _, out, _, document = finished
    sites = document["sites"]
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["sites"] == sites
    counts = rows["site"].value_counts()
    assert [(g["group"], g["n_images"], g["n_trained"]) for g in sites["groups"]] == [
        (name, counts[name], 80 - counts[name]) for name in sorted(SITES[:2])
    ]
    assert sites["referral"] == "predicted grade 2 or more"
    table = pd.read_csv(out / "sites.csv")
    assert table["site"].tolist() == sorted(SITES[:2])
    kappas = [group["qwk"]["value"] for group in sites["groups"]]
    np.testing.assert_allclose(table["qwk"], kappas, atol=1e-6)
    assert "sites.csv" in document["files"]


@pytest.mark.slow
@pytest.mark.usefixtures("whole_intervals")
def test_the_scores_are_those_of_models_fitted_without_the_site(finished, rows):
    """The same, fitted and scored here."""
    model = fundus.TransferClassifier(
        *("tiny", "logistic"),
        weights="fixed",
        image_size=32,
        pool_over="all",
        grades=5,
        cache=False,
    )
    y, who = rows["grade"].to_numpy(), rows["patient"].to_numpy()
    for group in finished[3]["sites"]["groups"]:
        own = (rows["site"] == group["group"]).to_numpy()
        fitted = clone(model).fit(rows["path"][~own], y[~own])
        found = fitted.predict(rows["path"][own])
        true = y[own]
        kappa = fundus.quadratic_weighted_kappa(true, found)
        assert group["qwk"]["value"] == pytest.approx(kappa)
        assert group["n_referable"] == (true >= 2).sum()
        assert group["sensitivity"]["value"] == pytest.approx((found[true >= 2] >= 2).mean())
        assert group["specificity"]["value"] == pytest.approx((found[true < 2] < 2).mean())
        assert group["n_patients"] == len(set(who[own]))
        ends = make_report(true, found, groups=who[own]).measures["qwk"].interval
        assert (group["qwk"]["low"], group["qwk"]["high"]) == pytest.approx((ends.low, ends.high))
        assert group["qwk"]["by_patient"]


@pytest.mark.slow
@pytest.mark.usefixtures("whole_intervals")
def test_folds_and_model_are_those_of_a_run_without_sites(finished, cache, document, logistic):
    table, out, _, with_sites = finished
    plain = out.with_name("plain")
    without = document("train", table, *logistic, *cache, "--out", plain)
    assert without["sites"] is None
    assert not (plain / "sites.csv").exists()
    assert without["out_of_fold"] == with_sites["out_of_fold"]
    assert (plain / "oof.csv").read_bytes() == (out / "oof.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("whole_intervals")
def test_a_run_that_ends_among_the_sites_goes_on(finished, run, monkeypatch):
    table, out, options, _ = finished
    other = out.with_name("interrupted")

    def ends(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fundus.cli.sites, "group_report", ends)
        run("train", table, *options, "--out", other, code=130)
    assert not (other / "sites.csv").exists()
    assert not (other / "metrics.json").exists()
    kept = (other / INTERRUPTED / "sites").iterdir()
    assert {p.name for p in kept if p.is_dir()} == {"fold-0", "fold-1"}
    loaded, fit = [], KeptFold.fit

    def counted(self, *data, **more):
        loaded.append(self.model.exists())
        return fit(self, *data, **more)

    monkeypatch.setattr(KeptFold, "fit", counted)
    run("train", table, *options, "--out", other, "--resume")
    assert loaded == [True] * 5  # three folds and two sites
    assert (other / "sites.csv").read_bytes() == (out / "sites.csv").read_bytes()
    assert not (other / INTERRUPTED).exists()


@pytest.mark.slow
def test_sites_cutpoints_and_stress_in_one_run_that_is_resumed(
    rows, cache, run, document, logistic, tmp_path, monkeypatch
):
    table, out = written(rows, tmp_path), tmp_path / "run"
    options = [*logistic, *cache, "--site-column", "site", "--cutpoints", "--stress"]

    def ends(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fundus.cli.results, "stress_out_of_fold", ends)
        run("train", table, *options, "--out", out, code=130)
    run("train", table, *options[:-1], "--out", out, "--resume", code=2)  # without --stress
    run("train", table, *options[:-4], *options[-2:], "--out", out, "--resume", code=2)
    loaded, fit = [], KeptFold.fit

    def counted(self, *data, **more):
        loaded.append(self.model.exists())
        return fit(self, *data, **more)

    monkeypatch.setattr(KeptFold, "fit", counted)
    found = document("train", table, *options, "--out", out, "--resume")
    assert loaded.count(True) == 5
    assert False not in loaded
    assert {"stress.png", "sites.csv", "oof.csv"} <= set(found["files"])
    assert set(found["stress"]["changed"]) == {"tone", "resolution", "zoom"}
    kappa = found["stress"]["unchanged"]["qwk"]["value"]
    assert kappa == pytest.approx(found["out_of_fold"]["qwk"])
    assert [group["group"] for group in found["sites"]["groups"]] == sorted(SITES[:2])
    model = fundus.load(out / "model")
    cuts = [fold.cutpoints_ for fold in model.ensemble_.estimators_]
    assert all(len(own) == 4 for own in cuts)


def refused(run, rows, folder, options, column="site"):
    table = written(rows, folder)
    out = folder / "run"
    found = run("train", table, *options, "--site-column", column, "--out", out, code=1)
    assert not out.exists()
    return " ".join(found.stderr.split())


@pytest.mark.slow
def test_sites_that_cannot_be_left_out_are_refused_before_training(
    run, rows, cache, logistic, tmp_path
):
    options = [*logistic, *cache]
    text = refused(run, rows, tmp_path, options, "clinic")
    assert "no column 'clinic' for --site-column; the columns are" in text
    assert "'site'" in text
    copies = rows.iloc[:1].assign(path=tmp_path / "copy.jpeg", patient="other")
    (tmp_path / "copy.jpeg").write_bytes(Path(rows["path"][0]).read_bytes())
    copies["site"] = SITES[1 - SITES.index(rows["site"][0])]
    text = refused(run, pd.concat([rows, copies]), tmp_path, options)
    assert "copy.jpeg" in text
    text = refused(run, rows.assign(site="here"), tmp_path, options)
    assert "one site only, 'here'" in text
    worst = rows.groupby("patient")["grade"].transform("max")
    own = np.where(worst == 4, "four", rows["site"])
    text = refused(run, rows.assign(site=own), tmp_path, options)
    assert "Without the site 'four' of --site-column, no image of class4 is left" in text


@pytest.mark.slow
def test_what_is_left_out_is_told(run, rows, cache, logistic, tmp_path):
    site = rows["site"].to_numpy(object, copy=True)
    worst = rows.groupby("patient")["grade"].transform("max")
    healthy = np.flatnonzero(worst == 0)
    site[healthy[:2]] = "zero"  # both eyes of one patient
    site[np.flatnonzero(worst == 3)[0]] = None
    table = written(rows.assign(site=site), tmp_path)
    out = tmp_path / "run"
    found = run("train", table, *logistic, *cache, "--site-column", "site", "--out", out)
    text = " ".join(found.stderr.split())
    assert "1 images name no site" in text
    assert "all images have one grade at 'zero', which has no kappa" in text
    assert "is undefined" not in text
    table = pd.read_csv(out / "sites.csv").set_index("site")
    assert np.isnan(table.loc["zero", "qwk"])
    assert table.loc["zero", "n_images"] == 2
    assert table["n_images"].sum() == 79


def bunch(frame):
    """What a loader returns of it."""
    return Bunch(
        frame=frame,
        grades=frame["grade"].to_numpy(),
        patients=frame["patient"].to_numpy(object),
        class_names=list("01234"),
    )


def asked(**options):
    return Settings(data=Path("labels.csv"), site_column="site", **options)


@pytest.mark.slow
def test_a_patient_at_two_sites_is_never_trained_and_tested_on(rows):
    site = rows["site"].to_numpy(object, copy=True)
    same = rows["patient"] == rows["patient"][0]
    site[0] = SITES[1 - SITES.index(site[0])]
    assert same.sum() == 2
    graded = bunch(rows.assign(site=site))
    with pytest.warns(UserWarning, match="2 images are of a patient seen at several sites"):
        found = fundus.cli.sites.plan_sites(graded, asked())
    for train, test in found.folds:
        assert not set(graded.patients[train]) & set(graded.patients[test])
        assert len(train) + len(test) <= 79


@pytest.mark.slow
@pytest.mark.parametrize("inner", [{"cutpoints": True}, {"calibrate": Calibrate.SIGMOID}])
def test_inner_folds_that_the_other_sites_cannot_give_are_refused_before_training(rows, inner):
    highest = rows.groupby("patient")["grade"].transform("max")
    who = rows["patient"].where(highest == 4)
    # of the patients with the highest grade all but one are at the site "four"
    site = np.where(who.notna() & (who != who.dropna().iloc[0]), "four", rows["site"])
    graded = bunch(rows.assign(site=site))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fundus.cli.sites.plan_sites(graded, asked()) is not None
        with pytest.raises(SplitError, match=r"Without the site 'four' .* 5 inner folds of --c"):
            fundus.cli.sites.plan_sites(graded, asked(**inner))
        assert fundus.cli.sites.plan_sites(bunch(rows), asked(**inner)) is not None


@pytest.mark.slow
def test_evaluate_by_columns_at_a_prevalence(finished, rows, run, document, cache, tmp_path):
    _, out, _, _ = finished
    table = written(rows, tmp_path)
    results = tmp_path / "out.csv"
    found = document(
        *("evaluate", out, table, "-o", results, *cache),
        *("--by", "site", "--by", "age", "--prevalence", 0.1),
    )
    scores = found["scores"]
    assert list(scores["by"]) == ["site", "age"]
    assert [g["group"] for g in scores["by"]["age"]["groups"]] == [
        f"{k} to {k + 9}" for k in (30, 40, 50, 60)
    ]
    predicted = pd.read_csv(results)
    for group in scores["by"]["site"]["groups"]:
        own = (rows["site"] == group["group"]).to_numpy()
        true, found = rows["grade"][own], predicted["grade"][own]
        assert group["qwk"]["value"] == pytest.approx(fundus.quadratic_weighted_kappa(true, found))
        assert group["n_patients"] == rows["patient"][own].nunique()
        assert group["qwk"]["by_patient"]
    assert scores["predictive_values"]["prevalence"] == 0.1
    assert "brightness" in scores["shortcuts"]["shortcuts"]
    assert (tmp_path / "out-shortcuts.png").exists()
    named = pd.read_csv(tmp_path / "out-scores.csv")["score"]
    assert "site =Ω: qwk" in named.tolist()
    assert "shortcut pixels" in named.tolist()
    text = run("evaluate", out, table, "-o", results, *cache, "--by", "lens", code=1).stderr
    assert "no column 'lens' for --by" in " ".join(text.split())
    text = run("evaluate", out, table, "-o", results, *cache, "--prevalence", 1, code=2).stderr
    assert "--prevalence" in text
    assert "range (0, 1)" in " ".join(text.split())
