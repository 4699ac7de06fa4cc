"""Fits that were killed and go on: `FoldEnsemble(resume_dir=…)`."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from joblib import parallel_config
from killing import Killed, killed
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit

import fundus
from fundus import (
    Augmentation,
    CumulativeCalibratedClassifierCV,
    FoldEnsemble,
    ReluHead,
    SoftmaxHead,
    TransferClassifier,
)
from fundus.exceptions import (
    BundleError,
    FundusError,
    FundusWarning,
    InvalidParameterError,
    ResumeError,
)
from fundus.meta.finished import as_fitted, finished
from fundus.meta.resume import LOCK, KeptFold
from fundus.training import checkpoints
from fundus.training.checkpoints import kept_in

HEAD = SoftmaxHead(units=8, layers=1, dropout=0.2)


class Forest(RandomForestClassifier):
    """No class that any release of skops trusts."""


COSINE = keras.optimizers.schedules.CosineDecay(0.1, 20)


def net(head=HEAD, **options):
    defaults = {"epochs": 6, "learning_rate": 0.02, "random_state": 0}
    return TransferClassifier("precomputed", head, **(defaults | options))


def ensemble(model=None, folder=None, **options):
    options = {"cv": 3, "random_state": 0} | options
    return FoldEnsemble(net() if model is None else model, resume_dir=folder, **options)


def said(model):
    """All that a network has learned and logged, to the bit."""
    weights = [np.asarray(w).tobytes() for w in model.head_.weights()]
    return weights, model.history_, model.head_.residual_std


FITS = {
    "dropout, plateau, early stopping": net(epochs=12, patience=2, learning_rate=0.1),
    "plateau of the caller": net(
        callbacks=keras.callbacks.ReduceLROnPlateau("loss", patience=1, cooldown=2, min_delta=1.0),
        validation_fraction=0.0,
    ),
    "scheduler": net(
        callbacks=keras.callbacks.LearningRateScheduler(lambda k, lr: lr * 0.7), epochs=3
    ),
    "momentum, cosine": net(
        optimizer=keras.optimizers.SGD(COSINE, momentum=0.9),
        learning_rate="auto",
        patience=None,
        epochs=4,
    ),
    "averaged weights": net(
        optimizer=keras.optimizers.AdamW(0.02, use_ema=True), learning_rate="auto", epochs=4
    ),
    "nadam, weights of grades": net(optimizer="nadam", class_weight={0: 3.0, 1: 1.0}, epochs=3),
    "regressor, inner folds": net(ReluHead(units=4, layers=1), epochs=2, validation_fraction=0.05),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "written"), [*((name, True) for name in FITS), ("momentum, cosine", False)]
)
def test_a_net_killed_after_every_epoch_is_the_same(name, written, blobs, tmp_path, monkeypatch):
    X, y = blobs
    weight = np.linspace(0.5, 2, len(y))
    model = FITS[name]
    whole = said(clone(model).fit(X, y, sample_weight=weight))
    log = []
    while "killed" not in log or log[-1] == "killed":
        with killed(monkeypatch, at=1 if written else 2, written=written) as calls:
            # one more epoch in every attempt
            with kept_in(tmp_path / "epochs"):
                again = clone(model).fit(X, y, sample_weight=weight)
            calls.append("ended")
        log += calls
        assert len(log) < 100
    assert log.count("killed") >= 3
    assert said(again) == whole


def test_no_epoch_is_trained_again(blobs, tmp_path, monkeypatch):
    X, y = blobs
    with killed(monkeypatch, at=4, written=True), kept_in(tmp_path):
        net(patience=None).fit(X, y)
    with killed(monkeypatch, at=0, written=True) as calls, kept_in(tmp_path):
        net(patience=None).fit(X, y)
    assert calls == [5, 6, None]
    with killed(monkeypatch, at=0, written=True) as calls, kept_in(tmp_path):
        net(patience=None).fit(X, y)
    assert calls == []


@pytest.mark.slow
def test_a_training_that_had_stopped_stays_stopped(blobs, tmp_path, monkeypatch):
    X, y = blobs
    model = net(epochs=30, patience=1, learning_rate=0.3)
    whole = clone(model).fit(X, y)
    n = len(whole.history_["loss"])
    assert n < 30
    with killed(monkeypatch, at=n, written=True), kept_in(tmp_path):
        clone(model).fit(X, y)
    with killed(monkeypatch, at=0, written=True) as calls, kept_in(tmp_path):
        again = clone(model).fit(X, y)
    assert calls == [None]  # its end
    assert said(again) == said(whole)


@pytest.mark.slow
def test_layers_of_a_backbone_and_augmentation_go_on(photographs, tmp_path, monkeypatch):
    X, y = photographs.frame[:16], photographs.grades[:16] > 0
    model = TransferClassifier(
        "tiny", HEAD, weights="fixed", image_size=32, freeze=0.5, augment=Augmentation(), epochs=3,
        random_state=0, cache=tmp_path / "cache", patience=None,
    )  # fmt: skip
    whole = said(clone(model).fit(X, y))
    for at in (1, 2):
        with (
            killed(monkeypatch, at=at, written=at == 1) as calls,
            kept_in(tmp_path / "epochs"),
        ):
            clone(model).fit(X, y)
        assert calls[-1] == "killed"
    with kept_in(tmp_path / "epochs"):
        assert said(clone(model).fit(X, y)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", 0.5])
def test_the_draw_of_views_goes_on(freeze, photographs, tmp_path, monkeypatch):
    X, y = photographs.frame[:16], photographs.grades[:16] > 0
    model = TransferClassifier(
        "tiny", HEAD, weights="fixed", image_size=32, freeze=freeze, augment=True, augment_views=2,
        epochs=4, random_state=0, cache=tmp_path / "cache", patience=None, learning_rate=0.02,
    )  # fmt: skip
    whole = said(clone(model).fit(X, y))
    for at, written in ((1, True), (2, False), (1, True)):
        with killed(monkeypatch, at=at, written=written) as calls, kept_in(tmp_path / "epochs"):
            clone(model).fit(X, y)
        assert calls[-1] == "killed"
    with killed(monkeypatch, at=0, written=True) as calls, kept_in(tmp_path / "epochs"):
        again = clone(model).fit(X, y)
    assert calls == [4, None], "only the last epoch was left"
    assert said(again) == whole
    assert said(clone(model).set_params(augment_views=3).fit(X, y)) != whole


# the log of a killed process is closed by the system
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("rate", [0.02, 2.0])  # a loss that falls, and one that jumps
def test_the_log_is_whole(rate, blobs, tmp_path, monkeypatch):
    X, y = blobs
    whole = net(log_dir=tmp_path / "whole", learning_rate=rate).fit(X, y)
    assert (np.argmin(whole.history_["val_loss"]) < 5) == (rate == 2.0)
    for at in (2, 2, 2, 2, 2, 0):
        with killed(monkeypatch, at=at, written=False), kept_in(tmp_path / "epochs"):
            net(log_dir=tmp_path / "killed", learning_rate=rate).fit(X, y)
    assert os.listdir(tmp_path / "killed") == ["fit-001"]
    one, two = (tmp_path / name / "fit-001" for name in ("whole", "killed"))
    assert (one / "log.csv").read_bytes() == (two / "log.csv").read_bytes()
    best = [keras.Sequential([keras.Input((12,)), *net_layers()]) for _ in range(2)]
    for model, folder in zip(best, (one, two), strict=True):
        model.load_weights(folder / "best.weights.h5")
    for a, b in zip(best[0].get_weights(), best[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def net_layers():
    inputs = keras.Input((12,))
    return keras.Model(inputs, HEAD.build(inputs, 3)).layers[1:]


def same(a, b):
    for name in ("oof_proba_", "oof_severity_", "oof_prediction_", "oof_fold_"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert [said(m) for m in a.estimators_] == [said(m) for m in b.estimators_]


@pytest.fixture(scope="module")
def whole(blobs):
    """The ensemble of all of `blobs` that nothing has killed."""
    return ensemble().fit(*blobs)


@pytest.mark.slow
def test_an_ensemble_goes_on_with_its_folds(whole, blobs, tmp_path, monkeypatch):
    X, y = blobs
    folder = tmp_path / "ü n" / "fit"
    with killed(monkeypatch, at=10, written=True) as calls:
        ensemble(folder=str(folder)).fit(X, y)
    assert calls[-1] == "killed"
    assert (folder / "fold-0").is_dir()
    assert not (folder / "fold-0-epochs").exists()
    with killed(monkeypatch, at=0, written=True) as calls:
        again = ensemble(folder=folder).fit(X, y)
    assert calls.count(1) == 1  # only the third fold begins at its first epoch
    same(again, whole)
    assert not list(folder.glob("*-epochs"))
    with killed(monkeypatch, at=0, written=True) as calls, parallel_config("threading"):
        # what may differ: the number of processes, what is shown, how the folder is named
        third = ensemble(folder=f"{folder}/", n_jobs=2, verbose=0).fit(X, y)
    assert calls == []
    same(third, whole)
    params = third.estimators_[0].get_params(), again.estimators_[2].get_params()
    assert params[0].keys() == params[1].keys()
    assert vars(third.estimators_[0]).keys() == vars(whole.estimators_[0]).keys()


@pytest.mark.slow
def test_a_drawn_seed_is_kept(blobs, tmp_path, monkeypatch):
    X, y = blobs
    model = net(random_state=None, epochs=2)
    first = ensemble(model, tmp_path / "a", random_state=None)
    with killed(monkeypatch, at=2, written=True):
        first.fit(X, y)
    # the same draw, not killed
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.json").write_bytes((tmp_path / "a" / "record.json").read_bytes())
    whole = ensemble(model, tmp_path / "b", random_state=None).fit(X, y)
    same(ensemble(model, tmp_path / "a", random_state=None).fit(X, y), whole)
    seeds = [one.random_state for one in whole.estimators_]
    assert len({*seeds}) == 3
    other = ensemble(model, tmp_path / "c", random_state=None).fit(X, y)
    assert (other.oof_proba_ != whole.oof_proba_).any()


CHANGES = {
    "rows": (lambda X, y: (X[:-3], y[:-3]), {}, "there were 90 rows, are 87"),
    "input": (lambda X, y: (np.where(np.arange(90)[:, None] == 4, 0, X), y), {}, "input of row 4"),
    "grade": (lambda X, y: (X, np.where(np.arange(90) == 7, 0, y)), {}, r"row 7 is another \(1, n"),
    "parameter": (None, {"estimator__C": 2.0}, "'estimator__C' parameter was 1.0, is 2.0"),
    "cv": (None, {"cv": 4}, "'cv' parameter was 3, is 4"),
    "estimator": (None, {"estimator": RandomForestClassifier()}, "RandomForestClassifier"),
    "folds": (None, {"cv": [([0, 1, 2], [3, 4, 5])]}, "'cv' parameter was 3"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_data_and_parameters_are_refused(name, blobs, tmp_path):
    change, params, message = CHANGES[name]
    ensemble(LogisticRegression(), tmp_path).fit(*blobs)
    X, y = change(*blobs) if change else blobs
    again = ensemble(LogisticRegression(), tmp_path).set_params(**params)
    with pytest.raises(ResumeError, match=message):
        again.fit(X, y)
    with pytest.raises(ResumeError, match="sample weight"):
        ensemble(LogisticRegression(), tmp_path).fit(*blobs, sample_weight=np.ones(90))


def test_another_release_or_image_is_refused(photographs, tmp_path, monkeypatch):
    paths = [tmp_path / f"{k}.png" for k in range(12)]
    for path, source in zip(paths, photographs.paths, strict=False):
        path.write_bytes(Path(source).read_bytes())
    y = np.arange(12) % 2
    model = TransferClassifier(
        "tiny", "logistic", weights="fixed", image_size=32, cache=False, random_state=0
    )
    FoldEnsemble(model, cv=2, resume_dir=tmp_path / "fit", random_state=0).fit(paths, y)
    paths[5].write_bytes(Path(photographs.paths[20]).read_bytes())
    again = FoldEnsemble(model, cv=2, resume_dir=tmp_path / "fit", random_state=0)
    with pytest.raises(ResumeError, match="the input of row 5 is another"):
        again.fit(paths, y)
    record = json.loads((tmp_path / "fit" / "record.json").read_text())
    record["fit"]["releases"]["keras"] = "3.0"
    (tmp_path / "fit" / "record.json").write_text(json.dumps(record))
    with pytest.raises(ResumeError, match=r"keras was 3\.0, is 3"):
        again.fit(paths, y)


@pytest.mark.slow
def test_callbacks_of_the_callers_begin_anew_and_say_so(blobs, tmp_path, monkeypatch):
    X, y = blobs

    class Stopping(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if stop.exists() and epoch == 1:
                raise Killed

    stop = tmp_path / "stop"
    stop.touch()
    model = net(callbacks=Stopping(), epochs=2, validation_fraction=0.0)
    with pytest.raises(Killed):
        ensemble(model, tmp_path / "fit", cv=2).fit(X, y)
    stop.unlink()
    with pytest.warns(FundusWarning, match="begins anew, as the state of the callbacks") as said_:
        again = ensemble(model, tmp_path / "fit", cv=2).fit(X, y)
    assert sum(issubclass(w.category, FundusWarning) for w in said_) == 1
    same(again, ensemble(model, cv=2).fit(X, y))


@pytest.mark.slow
def test_a_damaged_checkpoint_or_fold_is_fitted_again(whole, blobs, tmp_path, monkeypatch):
    X, y = blobs
    with killed(monkeypatch, at=10, written=True):
        ensemble(folder=tmp_path).fit(X, y)
    (file,) = (tmp_path / "fold-1-epochs").glob("*.npz")
    file.write_bytes(file.read_bytes()[:-200])
    part = next((tmp_path / "fold-0").glob("*.npz"))
    part.write_bytes(part.read_bytes()[:-1])
    with (
        pytest.warns(FundusWarning, match="checkpoint .* is damaged"),
        pytest.warns(FundusWarning, match="Fold 0 is fitted again"),
    ):
        again = ensemble(folder=tmp_path).fit(X, y)
    same(again, whole)


def test_what_is_no_fit_is_refused(blobs, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ResumeError, match=r"holds no fit, but other files, such as 'mine\.txt'"):
        ensemble(folder=tmp_path).fit(*blobs)
    with pytest.raises(FundusError, match="could not be written"):
        ensemble(folder=tmp_path / "mine.txt" / "fit").fit(*blobs)
    with pytest.raises(InvalidParameterError, match="'resume_dir' parameter of FoldEnsemble must"):
        ensemble(folder=3).fit(*blobs)
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "record.json").write_text("{}")
    with pytest.raises(ResumeError, match="is damaged"):
        ensemble(folder=tmp_path / "fit").fit(*blobs)


HOLD = """
import sys, pathlib
from fundus.runtime.locks import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_is_at_work(blobs, tmp_path):
    root = str(Path(fundus.__file__).parents[1])
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    model = ensemble(LogisticRegression(), tmp_path)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ResumeError, match=f"Process {other.pid} on .* is at work in"):
            model.fit(*blobs)
    finally:
        other.kill()  # the lock dies with its owner
        other.communicate()
    model.fit(*blobs)


@pytest.mark.slow
def test_calibration_and_searches_inside_go_on(blobs, tmp_path, monkeypatch):
    X, y = blobs
    calibrated = CumulativeCalibratedClassifierCV(net(epochs=2), cv=2, random_state=0)
    whole = ensemble(calibrated, cv=2).fit(X, y)
    with killed(monkeypatch, at=8, written=True):
        ensemble(calibrated, tmp_path / "a", cv=2).fit(X, y)
    with killed(monkeypatch, at=0, written=True) as calls:
        again = ensemble(calibrated, tmp_path / "a", cv=2).fit(X, y)
    assert 1 < calls.count(1) < 6
    np.testing.assert_array_equal(again.oof_proba_, whole.oof_proba_)
    search = GridSearchCV(net(epochs=1), {"head__units": [2, 4]}, cv=2)
    whole = ensemble(search, tmp_path / "b", cv=2).fit(X, y)
    again = ensemble(search, tmp_path / "b", cv=2).fit(X, y)
    np.testing.assert_array_equal(again.oof_proba_, whole.oof_proba_)
    for one, two in zip(again.estimators_, whole.estimators_, strict=True):
        assert type(one) is GridSearchCV
        assert one.best_params_ == two.best_params_
        assert one.cv_results_["param_head__units"].tolist() == [2, 4]
        assert one.score(X, y) == two.score(X, y)


def test_an_estimator_of_scikit_learn_draws_the_same(blobs, tmp_path, monkeypatch):
    X, y = blobs
    fit, calls = KeptFold.fit, []

    def stopped(self, *data, **options):
        calls.append(self.number)
        if len(calls) == 2:
            raise Killed
        return fit(self, *data, **options)

    forest, cv = Forest(5), ShuffleSplit(3, test_size=0.2)
    cv = list(cv.split(X))
    cv = [(train, np.setdiff1d(test, np.concatenate([t for _, t in cv[:k]] or [[]])))
          for k, (train, test) in enumerate(cv)]  # fmt: skip
    model = ensemble(forest, tmp_path / "a", cv=cv, random_state=None)
    with monkeypatch.context() as patch:
        patch.setattr(KeptFold, "fit", stopped)
        with pytest.raises(Killed):
            model.fit(X, y)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.json").write_bytes((tmp_path / "a" / "record.json").read_bytes())
    whole = clone(model).set_params(resume_dir=tmp_path / "b").fit(X, y)
    # skops does not trust it; what is finished of others is not fitted again
    with pytest.warns(FundusWarning, match="Fold 0 is fitted again, since .* not trusted"):
        again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.oof_proba_, whole.oof_proba_)


def test_it_is_no_part_of_a_saved_model(blobs, tmp_path):
    model = ensemble(LogisticRegression(), tmp_path / "fit").fit(*blobs)
    model.save(tmp_path / "saved")
    assert fundus.load(tmp_path / "saved").resume_dir is None
    assert clone(model).resume_dir == tmp_path / "fit"


def test_a_process_whose_parent_is_gone_stops(tmp_path, monkeypatch):
    with kept_in(tmp_path, starter=-1):
        checkpoints.refuse_orphans()
        monkeypatch.setattr(os, "getppid", lambda: 1)
        with pytest.raises(ResumeError, match="has ended"):
            checkpoints.refuse_orphans()


def test_a_finished_fold_sets_nothing_but_what_a_saved_model_lacks(blobs):
    model = LogisticRegression().fit(*blobs)
    ours = ensemble(LogisticRegression(), None).fit(*blobs)
    assert as_fitted(finished(model), LogisticRegression()) is model
    changed = dataclasses.replace(finished(ours), runs_=[{"predict": len}])
    with pytest.raises(BundleError, match="sets predict of a model"):
        as_fitted(changed, clone(ours))
