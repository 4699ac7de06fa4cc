"""Bundles: exact predictions after loading, no pickle, whole or absent, damage told."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fundus import (
    Augmentation,
    CoralHead,
    FoldEnsemble,
    LogisticHead,
    OrdinalRidgeHead,
    ReluHead,
    SoftmaxHead,
    TransferClassifier,
    load,
)
from fundus.exceptions import BundleError, UnknownNameError
from fundus.saving.bundle import read_record

SMALL = {"units": 4, "layers": 1}


def tiny(head="logistic", **options):
    defaults = {"weights": "fixed", "image_size": 32, "random_state": 0}
    return TransferClassifier("tiny", head, **(defaults | options))


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        tiny(),
        tiny("svm", class_weight={0: 1.0, 4: 2.5}),
        tiny("ridge", grades=5),
        tiny("ordinal_logistic", grades=5),
        tiny(OrdinalRidgeHead((1.0, 100.0))),
        tiny(CoralHead(**SMALL), epochs=1),
        tiny(make_pipeline(StandardScaler(), LogisticRegression())),
        tiny(SoftmaxHead(**SMALL), epochs=1, augment=Augmentation(rotation=3.0)),
        tiny(ReluHead(**SMALL), epochs=1, freeze=5),
        tiny(weights=None, photometric="corpus_mean", image_size=40, crop=None, pooling="max"),
    ],
    ids=[
        "logistic",
        "svm",
        "ridge",
        "ordinal_logistic",
        "ordinal_ridge",
        "coral",
        "foreign",
        "softmax",
        "relu-finetuned",
        "random-weights",
    ],
)
def test_predictions_are_identical(photographs, tmp_path, model):
    X, y = photographs.paths, photographs.grades
    model.fit(X, y).save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(again.predict_severity(X), model.predict_severity(X))
    assert again.classes_.dtype == model.classes_.dtype
    assert again.get_params()["freeze"] == model.get_params()["freeze"]
    assert again.get_params()["class_weight"] == model.get_params()["class_weight"]
    assert again.get_params()["augment"] == model.get_params()["augment"]
    assert not [p for p in (tmp_path / "model").rglob("*") if b"pickle" in p.read_bytes()[:200]]


@pytest.mark.slow
def test_an_ensemble_in_another_process(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    model = FoldEnsemble(tiny(SoftmaxHead(**SMALL), epochs=1), cv=2, random_state=0).fit(X, y)
    model.save(tmp_path / "model")
    np.save(tmp_path / "proba.npy", model.predict_proba(X))
    code = (
        "import sys, numpy as np, fundus\n"
        "model = fundus.load(sys.argv[1])\n"
        "assert len(model.estimators_) == 2\n"
        "assert np.isfinite(model.oof_proba_).all()\n"
        "proba = model.predict_proba(sys.argv[3:])\n"
        "expected = np.load(sys.argv[2])\n"
        "assert np.array_equal(proba, expected), abs(proba - expected).max()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "proba.npy"), *X]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    again = load(tmp_path / "model")
    for name in ("oof_proba_", "oof_severity_", "oof_prediction_", "oof_fold_"):
        assert np.array_equal(getattr(again, name), getattr(model, name)), name
    assert again.cv_results_["test_kappa"] == pytest.approx(model.cv_results_["test_kappa"])


def test_precomputed_strings_and_searches(blobs, tmp_path):
    X, y = blobs
    names = np.array(["none", "some", "much"])[y]
    search = GridSearchCV(
        TransferClassifier("precomputed", LogisticHead(), grades=["none", "some", "much"]),
        {"head__C": [0.1, 1.0]},
        cv=2,
    )
    model = FoldEnsemble(search, cv=2, random_state=0).fit(X, names)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.predict(X), model.predict(X))
    assert np.array_equal(again.oof_prediction_, model.oof_prediction_)
    assert again.n_features_in_ == 12
    plain = FoldEnsemble(LogisticRegression(), cv=2).fit(X, y)
    plain.save(tmp_path / "plain")
    assert np.array_equal(load(tmp_path / "plain").predict_proba(X), plain.predict_proba(X))


def test_nothing_is_written_over_or_half(photographs, tmp_path, monkeypatch):
    model = tiny().fit(photographs.paths, photographs.grades)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="new or empty folder"):
        model.save(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    model.save(tmp_path / "empty")
    assert load(tmp_path / "empty").classes_.tolist() == [0, 1, 2, 3, 4]

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("skops.io.dump", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / "half")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full"]


def test_only_fitted_models(tmp_path):
    with pytest.raises(BundleError, match="call fit first"):
        tiny().save(tmp_path / "model")
    with pytest.raises(BundleError, match="call fit first"):
        FoldEnsemble(tiny()).save(tmp_path / "model")


def test_functions_cannot_be_saved(photographs, tmp_path):
    model = tiny(normalise=lambda images: images / np.float32(255))
    model.fit(photographs.paths, photographs.grades)
    with pytest.raises(BundleError, match="'normalise' .* through a plugin"):
        model.save(tmp_path / "model")
    model = tiny(photometric=lambda images: 255 - images)
    model.fit(photographs.paths, photographs.grades)
    with pytest.raises(BundleError, match="'photometric' .* through a plugin"):
        model.save(tmp_path / "model")


def test_damage_is_told(photographs, tmp_path):
    model = tiny().fit(photographs.paths, photographs.grades)
    model.save(tmp_path / "model")
    part = next((tmp_path / "model").glob("*.skops"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match=r"skops' is damaged"):
        load(tmp_path / "model")
    part.unlink()
    with pytest.raises(BundleError, match="lacks its file"):
        load(tmp_path / "model")
    with pytest.raises(BundleError, match="not a saved model"):
        load(tmp_path / "nowhere")


def rewrite(folder, change):
    """Change what a bundle says, and its manifest with it."""
    from fundus.saving.bundle import _sha256

    text = (folder / "model.json").read_text()
    record = json.loads(text)
    change(record)
    (folder / "model.json").write_text(json.dumps(record))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.json"] = _sha256(folder / "model.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_newer_format_a_missing_plugin_and_other_weights(photographs, tmp_path):
    model = tiny().fit(photographs.paths, photographs.grades)
    for name in ("newer", "plugin", "weights"):
        model.save(tmp_path / name)
    manifest = json.loads((tmp_path / "newer" / "manifest.json").read_text())
    manifest["format"] = 99
    (tmp_path / "newer" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="format 99.*upgrade"):
        load(tmp_path / "newer")

    def other_plugin(record):
        record["model"]["frozen"] |= {"backbone": "gone/net", "distribution": "fundus-gone"}

    rewrite(tmp_path / "plugin", other_plugin)
    with pytest.raises(UnknownNameError, match="pip install fundus-gone"):
        load(tmp_path / "plugin")

    def other_weights(record):
        record["model"]["frozen"]["weights_sha256"] = "0" * 64

    rewrite(tmp_path / "weights", other_weights)
    with pytest.raises(BundleError, match="not those the model was trained with"):
        load(tmp_path / "weights")


class Stranger(LogisticRegression):
    """A type of no package that skops knows."""


def test_types_that_are_not_trusted_are_refused(blobs, tmp_path):
    X, y = blobs
    model = TransferClassifier("precomputed", Stranger()).fit(X, y)
    model.save(tmp_path / "model")
    with pytest.raises(BundleError, match=r"not trusted: .*Stranger.* trusted=\[") as caught:
        load(tmp_path / "model")
    name = str(caught.value).split("not trusted: ")[1].split(". ")[0]
    again = load(tmp_path / "model", trusted=[name])
    assert np.array_equal(again.predict(X), model.predict(X))


def test_a_forest_needs_one_word_of_trust(photographs, tmp_path):
    model = tiny(RandomForestClassifier(10)).fit(photographs.paths, photographs.grades)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model", trusted=["sklearn.tree._tree.Tree"])
    assert np.array_equal(again.predict(photographs.paths), model.predict(photographs.paths))


def test_the_record_names_versions_and_what_was_asked_for(photographs, tmp_path):
    from fundus.saving.bundle import save

    model = tiny().fit(photographs.paths, photographs.grades)
    save(model, tmp_path / "model", about={"class_names": ["class0", "class1"]})
    record = read_record(tmp_path / "model")
    assert record["about"] == {"class_names": ["class0", "class1"]}
    frozen = record["model"]["frozen"]
    assert frozen["distribution"] == "fundus-zoo"
    assert len(frozen["weights_sha256"]) == 64


def test_the_folder_of_a_run_is_told_from_its_model(photographs, tmp_path):
    tiny().fit(photographs.paths, photographs.grades).save(tmp_path / "run" / "model")
    with pytest.raises(BundleError, match=r"its model is in .*model'"):
        load(tmp_path / "run")


PLUGIN = """
import keras
from fundus.heads.neural import SoftmaxHead
from fundus.heads.sklearn_heads import LogisticHead
from fundus.hookspecs import BackboneSpec, HeadSpec, PreprocessorSpec, hookimpl

def build(*, image_size, weights):
    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, name="a")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, strides=4, name="b")(x))

class PluginHead(SoftmaxHead):
    pass

class PluginLogistic(LogisticHead):
    pass

def halved(images):
    return images.astype("float32") / 128 - 1

@hookimpl
def fundus_backbones():
    return [BackboneSpec(name="net", build=build, image_size=32, parameters=260, licence="MIT")]

@hookimpl
def fundus_heads():
    return [HeadSpec(name="own_softmax", make=PluginHead, description="Softmax."),
            HeadSpec(name="own_logistic", make=PluginLogistic, description="Logistic.")]

@hookimpl
def fundus_preprocessors():
    darker = {"apply": lambda images: images // 2, "kind": "photometric"}
    return [PreprocessorSpec(name="halved", apply=halved, description="-1 to 1."),
            PreprocessorSpec(name="darker", description="Half as light.", **darker)]
"""

OF_A_PLUGIN = {
    "backbone": {"backbone": "net", "weights": None},
    "head by name": {"head": "own_logistic"},
    "head as an object": {"head": None},
    "preprocessor": {"normalise": "halved"},
    "photometric step": {"photometric": "darker"},
}


@pytest.mark.slow
@pytest.mark.parametrize("part", OF_A_PLUGIN)
def test_a_model_names_the_package_it_needs(photographs, tmp_path, monkeypatch, install, part):
    from fundus.plugins import registry

    place = install("saver", PLUGIN, distribution="fundus-saver", version="1.2")
    options = OF_A_PLUGIN[part]
    if part == "head as an object":
        make = registry.get_registry().find("head", "own_softmax").spec.maker
        options = {"head": make(units=4, layers=1), "epochs": 1}
    model = TransferClassifier(**{
        "backbone": "tiny", "weights": "fixed", "head": "logistic", "image_size": 32,
        "random_state": 0, **options,
    })  # fmt: skip
    X = photographs.paths[:10]
    model.fit(X, photographs.grades[:10]).save(tmp_path / "model")
    severity = model.predict_severity(X)

    # another plugin that offers the short names does not disturb
    install("other", PLUGIN, distribution="other-dist")
    registry._loaded.cache_clear()
    assert np.array_equal(load(tmp_path / "model").predict_severity(X), severity)

    # nor is a stranger of the same name taken for it
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(place)])
    registry._loaded.cache_clear()
    needs = r"needs the .* 'saver/\w+' of the package 'fundus-saver', "
    fix = r".*pip install fundus-saver \(saved with version 1.2\)"
    with pytest.raises(UnknownNameError, match=needs + "which is not installed" + fix):
        load(tmp_path / "model")
    install("saver", PLUGIN, distribution="stranger")
    registry._loaded.cache_clear()
    with pytest.raises(UnknownNameError, match=needs + ".*comes with 'stranger'" + fix):
        load(tmp_path / "model")


@pytest.mark.slow
def test_a_warm_model_is_saved_and_loaded_without_tensorflow(photographs, tmp_path):
    code = (
        "import sys, fundus\n"
        "cache, folder, *X = sys.argv[1:]\n"
        "options = {'weights': 'fixed', 'image_size': 32, 'cache': cache}\n"
        "model = fundus.TransferClassifier('tiny', 'ridge', **options)\n"
        "model.fit(X, [0, 1] * 4).save(folder)\n"
        "assert (fundus.load(folder).predict(X) == model.predict(X)).all()\n"
        "print('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    seen = [
        subprocess.run(
            [*command, str(tmp_path / name), *photographs.paths[:8]],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        ).stdout.strip()
        for name in ("cold", "warm")
    ]
    assert seen == ["True", "False"]


# --- splitters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cv",
    [
        3,
        None,
        StratifiedKFold(3, shuffle=True, random_state=5),
        GroupKFold(2),
        PredefinedSplit(np.arange(90) % 2),
    ],
    ids=repr,
)
def test_a_loaded_ensemble_keeps_its_splitter(cv, blobs, tmp_path):
    X, y = blobs
    groups = np.arange(90) // 3 if isinstance(cv, GroupKFold) else None
    fitted = FoldEnsemble(TransferClassifier("precomputed", "logistic"), cv=cv, random_state=7).fit(
        X, y, groups=groups
    )
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert repr(loaded.cv) == repr(cv)
    again = loaded.fit(X, y, groups=groups)
    assert np.array_equal(again.oof_fold_, fitted.oof_fold_)
    assert np.array_equal(again.oof_proba_, fitted.oof_proba_)


def test_folds_given_by_row_are_not_kept(blobs, tmp_path):
    X, y = blobs
    folds = [(np.flatnonzero(np.arange(90) % 2 != k), np.flatnonzero(np.arange(90) % 2 == k))
             for k in range(2)]  # fmt: skip
    FoldEnsemble(TransferClassifier("precomputed", "logistic"), cv=folds).fit(X, y).save(
        tmp_path / "model"
    )
    assert load(tmp_path / "model").cv == 2


def test_only_splitters_are_built_from_a_record():
    from fundus.saving.splitters import cv_of

    for name in ("GridSearchCV", "cross_validate", "__doc__", "Nothing"):
        with pytest.raises(BundleError, match="splitter"):
            cv_of({"splitter": name, "params": {}})
    with pytest.raises(BundleError, match="splitter KFold"):
        cv_of({"splitter": "KFold", "params": {"folds": 3}})
