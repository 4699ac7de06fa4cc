"""Saving by protocol: whoever says what of it is saved can be saved, and nobody else is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression

import fundus
from fundus import (
    CumulativeCalibratedClassifierCV,
    FoldEnsemble,
    OrdinalConformalClassifier,
    TransferClassifier,
    TunedCutpointClassifierCV,
)
from fundus.exceptions import BundleError
from fundus.meta.base import MetaGrader
from fundus.meta.out_of_fold import fit_fold, fold_template
from fundus.saving.bundle import MANIFEST, MODEL, _sha256
from fundus.saving.classes import find_class, kind_of, saveable
from fundus.saving.mixin import Saves


@saveable
@dataclass(frozen=True)
class Offset:
    """A record of a third party's."""

    amount: float
    by_class: np.ndarray


class Shifted(MetaGrader):
    """A third party's meta-estimator: it shifts the severity of what it wraps."""

    _saved = (*MetaGrader._saved, "estimator_", "grades_", "offset_", "notes_")

    def __init__(self, estimator, *, by=0.25):
        self.estimator = estimator
        self.by = by

    def _fit(self, data):
        rows = np.arange(len(data.y))
        model = fold_template(self.estimator, None, data.y, data.groups, None)
        self.estimator_ = fit_fold(model, data.X, data.target, rows, data.weight, data.groups)
        self.grades_ = np.unique(data.y)
        self.offset_ = Offset(float(self.by), np.arange(len(self.grades_), dtype=np.float32))
        self.notes_ = {"rows": (len(rows), "images"), 3: [None, True]}
        self.classes_ = np.unique(data.y)

    def votes_of(self, reading):
        votes = self._inner_votes(reading)
        return votes._replace(severity=votes.severity + self.offset_.amount)


class Constant(Saves, ClassifierMixin, BaseEstimator):
    """One that wraps nothing and inherits from the protocol alone."""

    _saved = ("classes_", "most_")

    def __init__(self, n_jobs=None, scale=(1.0, 2.0)):
        self.n_jobs = n_jobs
        self.scale = scale

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.most_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.most_)


def logistic():
    return TransferClassifier("precomputed", "logistic", grades=3)


def both(model, X, folder):
    model.save(folder)
    loaded = fundus.load(folder)
    assert type(loaded) is type(model)
    for method in ("predict", "predict_proba", "predict_severity"):
        assert np.array_equal(getattr(loaded, method)(X), getattr(model, method)(X))
    return loaded


def test_a_meta_estimator_of_a_third_party(blobs, tmp_path):
    X, y = blobs
    model = Shifted(logistic(), by=0.5).fit(X, y)
    loaded = both(model, X, tmp_path / "model")
    assert loaded.by == 0.5
    assert loaded.offset_.amount == 0.5
    assert loaded.offset_.by_class.dtype == np.float32
    assert loaded.notes_ == {"rows": (90, "images"), 3: [None, True]}
    assert np.array_equal(loaded.predict_severity(X), model.estimator_.predict_severity(X) + 0.5)
    assert isinstance(clone(loaded).fit(X, y), Shifted)


@pytest.mark.parametrize(
    "nested",
    [
        FoldEnsemble(Shifted(logistic()), cv=3, random_state=0),
        Shifted(FoldEnsemble(logistic(), cv=3, random_state=0)),
        Shifted(Shifted(LogisticRegression())),
        TunedCutpointClassifierCV(Shifted(logistic()), cv=3, random_state=0),
        CumulativeCalibratedClassifierCV(Shifted(logistic()), cv=3, random_state=0),
        OrdinalConformalClassifier(Shifted(logistic()), cv=3, random_state=0),
    ],
    ids=["in an ensemble", "around one", "twice", "in cutpoints", "calibrated", "conformal"],
)
def test_it_nests(blobs, tmp_path, nested):
    X, y = blobs
    loaded = both(nested.fit(X, y), X, tmp_path / "model")
    assert repr(loaded.estimator) == repr(nested.estimator)


def test_an_estimator_that_wraps_nothing(blobs, tmp_path):
    X, y = blobs
    model = Constant(n_jobs=2, scale=(3.0, 4.0)).fit(X, y)
    model.save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert loaded.n_jobs is None  # of a run, not of a model
    assert loaded.scale == (3.0, 4.0)
    with pytest.raises(BundleError, match="Only a fitted Constant can be saved: call fit first"):
        Constant().save(tmp_path / "other")


def test_what_cannot_be_saved_is_named(blobs, tmp_path):
    model = Constant(scale=print).fit(*blobs)
    with pytest.raises(BundleError, match="parameter 'scale' holds <built-in function print>"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


MODULE = """
from fundus.saving.mixin import Saves
from sklearn.base import BaseEstimator
print("imported")
class Theirs(Saves, BaseEstimator):
    _saved = ("n_",)
    def fit(self, X, y=None):
        self.n_ = len(X)
        return self
"""


@pytest.fixture
def theirs(tmp_path):
    """The folder of a module, and a bundle of its class."""
    (tmp_path / "their_module.py").write_text(MODULE)
    script = "import their_module; their_module.Theirs().fit([1, 2, 3]).save('bundle')"
    assert python(tmp_path, script).returncode == 0
    return tmp_path


def python(folder, script):
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_class_that_is_not_known_is_not_imported(theirs):
    script = (
        "import importlib, pathlib, fundus\n"
        "def told(**trust):\n"
        "    try:\n"
        "        fundus.load('bundle', **trust)\n"
        "    except fundus.exceptions.BundleError as error:\n"
        "        print(error)\n"
        "told()\n"
        "module = pathlib.Path('their_module.py').rename('gone')\n"
        "told(trusted=['their_module.Theirs'])\n"
        "module.rename('their_module.py')\n"
        "importlib.invalidate_caches()\n"
        "import their_module\n"
        "print(fundus.load('bundle').n_)"
    )
    refused, gone, *known = python(theirs, script).stdout.splitlines()
    assert refused.startswith("The model holds 'their_module.Theirs'")
    assert "trusted=['their_module.Theirs']" in refused
    assert "cannot be imported (No module named 'their_module')" in gone
    assert known == ["imported", "3"]
    trusted = "import fundus; print(fundus.load('bundle', trusted=['their_module.Theirs']).n_)"
    assert python(theirs, trusted).stdout.split() == ["imported", "3"]


@pytest.mark.slow
def test_an_installed_plugin_brings_its_classes(blobs, tmp_path, install):
    code = MODULE.replace("print", "str") + (
        "from fundus.hookspecs import hookimpl\n"
        "@hookimpl\ndef fundus_heads():\n    return []\n"
    )  # fmt: skip
    place = install("theirs", code)
    (module,) = [path.stem for path in place.glob("*.py")]
    saved = (
        f"import sys; sys.path.insert(0, {str(place)!r}); import {module};"
        f"{module}.Theirs().fit([1, 2]).save({str(tmp_path / 'model')!r})"
    )
    assert python(tmp_path, saved).returncode == 0
    assert (
        f"{module}.Theirs" == json.loads((tmp_path / "model" / MODEL).read_text())["model"]["kind"]
    )
    assert fundus.load(tmp_path / "model").n_ == 2


STRANGE = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "fundus.load",
    "fundus.cli.main",
    "fundus.__main__.main",
    "fundus.store.cache.Cache",
    "fundus.hookspecs.BackboneSpec",
    "sklearn.linear_model._logistic.LogisticRegression",
    "Theirs",
    "",
]


@pytest.mark.parametrize("kind", STRANGE)
def test_only_saveable_classes_are_found(kind, blobs, tmp_path):
    for asked in ((), (kind,)):  # trust imports a module; it makes no class saveable
        with pytest.raises(BundleError, match="not a saveable class|cannot be imported"):
            find_class(kind, asked)
    model = Constant().fit(*blobs)
    model.save(tmp_path)
    for place in (lambda record: record, lambda record: record["fitted"]):
        record = json.loads((tmp_path / MODEL).read_text())
        if place(record["model"]) is record["model"]:
            record["model"]["kind"] = kind
        else:
            record["model"]["fitted"]["most_"] = {"kind": kind, "fields": {"args": ["true"]}}
        (tmp_path / MODEL).write_text(json.dumps(record))
        manifest = json.loads((tmp_path / MANIFEST).read_text())
        manifest["files"][MODEL] = _sha256(tmp_path / MODEL)
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(BundleError, match="not a saveable class|cannot be imported"):
            fundus.load(tmp_path)


def test_a_record_is_no_model(tmp_path, blobs):
    Constant().fit(*blobs).save(tmp_path)
    text = (tmp_path / MODEL).read_text().replace(kind_of(Constant), kind_of(Offset))
    (tmp_path / MODEL).write_text(text)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["files"][MODEL] = _sha256(tmp_path / MODEL)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"Offset' where an estimator is needed"):
        fundus.load(tmp_path)


def test_decisions_are_kept(blobs, tmp_path):
    X, y = blobs
    model = FoldEnsemble(logistic(), cv=3, random_state=0).fit(X, y)
    model.class_names_ = ["none", "mild", "severe"]
    point = fundus.operating_point(model.oof_severity_, y >= 1, sensitivity=0.9)
    model.operating_points_ = {"referable": [point]}
    model.referable_with_dme_ = False
    loaded = both(model, X, tmp_path / "model")
    assert loaded.class_names_ == model.class_names_
    assert loaded.operating_points_ == model.operating_points_
    assert loaded.referable_with_dme_ is False
