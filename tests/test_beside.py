"""The page of recipes with other libraries: every block runs, and gives what the page says."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "beside-others.md").read_text(encoding="utf-8")

#: By section, from the first: its blocks.
SECTIONS = {
    part.split("\n", 1)[0].split(":")[0]: re.findall(r"^```python\n(.*?)^```", part, re.M | re.S)
    for part in f"\n{PAGE}".split("\n## ")
}
FIRST = next(iter(SECTIONS))

#: What each section imports.
NEEDS = {
    "MAPIE": "mapie",
    "skore": "skore",
    "imbalanced-learn": "imblearn",
    "Optuna": "optuna",
    "MLflow": "mlflow",
    "TensorBoard": "tensorboard",
}

pytestmark = pytest.mark.slow


def run(section: str, block: str, names: dict) -> None:
    exec(compile(block, f"beside-others.md, {section}", "exec"), names)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder in which the page is followed, and the names of its first block."""
    folder, names = tmp_path_factory.mktemp("beside"), {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(FIRST, *SECTIONS[FIRST], names)
    return folder, names


@pytest.fixture
def follow(begun, monkeypatch):
    """Return a function that runs the blocks of a section, and gives their names."""
    folder, names = begun
    monkeypatch.chdir(folder)

    def followed(section: str) -> dict:
        needed = NEEDS.get(section)
        if needed and importlib.util.find_spec(needed) is None:
            pytest.skip(f"no {needed}: pip install fundus-zoo[beside], or make test-beside")
        here = {**names, "model": clone(names["model"])}
        for block in SECTIONS[section]:
            run(section, block, here)
        return here

    return followed


def test_every_section_has_blocks_and_every_library_a_test():
    assert set(SECTIONS) == {FIRST, *NEEDS, "scikit-learn"}
    assert all(SECTIONS.values())
    for blocks in SECTIONS.values():
        assert all(len(block.splitlines()) <= 25 for block in blocks)


def test_the_releases_are_those_of_the_page():
    """What is installed is no older than what the page says was tried."""
    rows = re.findall(r"^\| \[[^]]+\]\([^)]*project/([\w-]+)/\) \| .*? \| (\d[\d.]+)", PAGE, re.M)
    assert len(rows) == len(NEEDS)
    for name, tried in rows:
        name = "mlflow-skinny" if name == "mlflow" else name
        if importlib.util.find_spec(NEEDS_OF[name]) is None:
            continue
        try:
            found = version(name)
        except ModuleNotFoundError:  # the whole of MLflow
            found = version("mlflow")
        assert number(found) >= number(tried), name


NEEDS_OF = {
    "mapie": "mapie", "skore": "skore", "imbalanced-learn": "imblearn", "optuna": "optuna",
    "mlflow-skinny": "mlflow", "tensorboard": "tensorboard",
}  # fmt: skip


def number(release: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", release)[:3]]


def test_the_extra_has_what_the_page_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = " ".join(project["optional-dependencies"]["beside"])
    for name in ("imbalance", "mapie>=", "mlflow-skinny>=", "optuna>=", "skore>=", "tensorboard"):
        assert name in extra, name
    assert "beside" not in " ".join(project["optional-dependencies"]["dev"])
    assert "fundus-zoo[beside]" in PAGE


def test_mapie_gives_sets_that_hold_what_an_own_count_says(follow):
    page = follow("MAPIE")
    model, grades, rows = page["model"], page["data"].grades, page["calibrate"]
    patients = page["data"].patients
    assert len(set(patients[rows])) == len(rows) >= 8
    assert not set(patients[rows]) & set(patients[page["train"]])
    proba = model.predict_proba(page["data"].frame)
    scores = np.sort(1 - proba[rows, np.searchsorted(model.classes_, grades[rows])])
    rank = int(np.ceil((len(rows) + 1) * 0.8))
    bound = scores[rank - 1] if rank <= len(rows) else np.inf
    np.testing.assert_array_equal(page["in_set"], proba >= 1 - bound - 1e-12)
    np.testing.assert_array_equal(page["grade"], model.classes_[proba.argmax(axis=1)])


# the grades that the small model of the page never predicts
@pytest.mark.filterwarnings("ignore:Precision is ill-defined")
def test_skore_scores_what_we_score(follow):
    from fundus import quadratic_weighted_kappa

    page = follow("skore")
    data = page["data"]
    kappas = []
    for fold, (train, test) in zip(page["report"].reports_, page["folds"], strict=True):
        again = page["model"].fit(data.frame.iloc[train], data.grades[train])
        predicted = fold.estimator_.predict(data.frame.iloc[test])
        np.testing.assert_array_equal(predicted, again.predict(data.frame.iloc[test]))
        kappas.append(quadratic_weighted_kappa(data.grades[test], predicted))
    assert len(np.unique(kappas)) == 3, "a model that does predict"
    (row,) = [name for name in page["scores"].index if "kappa" in str(name).lower()]
    assert page["scores"].loc[row].iloc[0] == pytest.approx(np.mean(kappas))
    assert page["matrix"] is not None


def test_imbalanced_learn_samples_features_and_paths(follow):
    page = follow("imbalanced-learn")
    for result in (page["on_features"], page["on_paths"]):
        assert np.isfinite(result["test_score"]).all()
    most = np.bincount(page["data"].grades).max()
    counts = np.bincount(page["column"][0].sample_indices_, minlength=60)
    assert len(page["column"][0].sample_indices_) == 5 * most
    assert counts.min() >= 1
    assert page["column"].predict(page["data"].paths.reshape(-1, 1)).shape == (60,)
    # the frozen layers have seen no new rows, so SMOTE worked on features
    assert "smote" in page["on_features"]["estimator"][0].named_steps


def test_optuna_searches_and_gives_up_some(follow):
    from sklearn.model_selection import cross_val_score

    from fundus import TransferClassifier, kappa_scorer

    page = follow("Optuna")
    states = [trial.state.name for trial in page["study"].trials]
    assert len(states) == 20
    assert states.count("PRUNED") >= 1
    assert states.count("FAIL") == 0
    best, grades, train = page["study"].best_trial, page["data"].grades, page["train"]
    assert {"head"} < set(best.params) <= {"head", "alpha", "C"}
    assert best.value == max(t.value for t in page["study"].trials if t.state.name == "COMPLETE")
    assert not set(page["data"].patients[train]) & set(page["data"].patients[page["test"]])
    assert len(grades[train]) == sum(len(score) for _, score in page["search"])
    # what it calls the best is so again, by a cross-validation of scikit-learn's
    name = "head__alpha" if best.params["head"] == "ridge" else "head__C"
    model = TransferClassifier("precomputed", best.params["head"])
    model.set_params(**{name: best.params[name.removeprefix("head__")]})
    again = cross_val_score(model, page["X"], page["y"], cv=page["search"], scoring=kappa_scorer)
    assert best.value == pytest.approx(again.mean())


# of SQLAlchemy 2.1, for a way of loading that MLflow 3.17 uses
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_mlflow_keeps_a_run_and_a_model_without_pickle(follow):
    page = follow("MLflow")
    import mlflow

    run = mlflow.get_run(page["run"].info.run_id)
    scores = page["found"].scores().set_index("score")["value"].dropna()
    assert run.data.metrics == pytest.approx(scores.to_dict())
    assert run.data.params["head"] == "RidgeHead(alpha=1.0)"
    files = {Path(f.path).name for f in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)}
    assert files >= {"report.json", "report.txt", "model", "confusion.png", "roc.png"}
    kept = [path.suffix for path in Path(page["folder"]).rglob("*") if path.is_file()]
    assert not set(kept) & {".pkl", ".pickle", ".joblib"}
    X = page["data"].frame
    np.testing.assert_array_equal(page["loaded"].predict(X), page["ensemble"].predict(X))
    # the traps that the page tells of
    mlflow.sklearn.autolog(log_models=False, log_datasets=False, silent=True)
    try:
        with mlflow.start_run() as watched:
            page["model"].set_params(head="logistic").fit(X, page["data"].grades)
    finally:
        mlflow.sklearn.autolog(disable=True)
    params = mlflow.get_run(watched.info.run_id).data.params
    assert "logisticregression__C" in params
    assert "backbone" not in params
    with pytest.raises(mlflow.MlflowException, match="untrusted types"), mlflow.start_run():
        mlflow.sklearn.log_model(page["ensemble"], name="model")


def test_tensorboard_has_a_curve_for_each_fold(follow):
    page = follow("TensorBoard")
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    histories = [model.history_ for model in page["ensemble"].estimators_]
    for k, history in enumerate(histories):
        events = EventAccumulator(f"curves/fold-{k}").Reload()
        for name, values in history.items():
            kept = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(name)]
            np.testing.assert_allclose(kept, values, rtol=1e-6)
    live = EventAccumulator("curves/now/train").Reload()
    (name,) = [tag for tag in live.Tags()["tensors"] if "loss" in tag]
    kept = [float(tf.make_ndarray(e.tensor_proto)) for e in live.Tensors(name)]
    np.testing.assert_allclose(kept, page["net"].history_["loss"], rtol=1e-6)


def test_a_cross_validation_is_one_search(follow):
    page = follow("scikit-learn")
    assert page["result"]["test_score"].shape == (3,)
