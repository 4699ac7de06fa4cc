"""What is refused in a saved model that was changed, file by file and value by value."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import skops.io
from attacks.bundles import sign
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fundus
import fundus.saving.files as saved_files
from fundus import CoralHead, FeatureExtractor, FoldEnsemble, TransferClassifier
from fundus.exceptions import BundleError
from fundus.saving.mixin import Saves
from fundus.saving.schema import COUNT

STORED = Path(__file__).parent / "data" / "format2"
IMAGES = np.load(STORED.parent / "format1" / "photographs.npz")["images"]


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    """Models of every kind in today's format, and one with its own weights and one of Keras."""
    folder = tmp_path_factory.mktemp("today")
    for path in sorted(STORED.iterdir()):
        if path.is_dir():
            fundus.load(path).save(folder / path.name)
    options = {"weights": None, "image_size": 32, "cache": False, "random_state": 0}
    TransferClassifier("tiny", "ridge", photometric="corpus_mean", **options).fit(
        IMAGES, [0, 1, 2] * 2
    ).save(folder / "weights")
    head = CoralHead(units=4, layers=1)
    X, y = np.random.default_rng(0).normal(size=(60, 7)).astype("f4"), np.arange(60) % 3
    TransferClassifier("precomputed", head, epochs=1, random_state=0).fit(X, y).save(folder / "net")
    return folder


@pytest.fixture
def copy(today, tmp_path):
    """Return a function that copies a model, to be changed."""

    def copied(name):
        return Path(shutil.copytree(today / name, tmp_path / name))

    return copied


def edited(folder, change):
    """Change a model's record, with the digest that fits."""
    record = json.loads((folder / "model.json").read_text())
    change(record["model"])
    (folder / "model.json").write_text(json.dumps(record))
    sign(folder)
    return folder


def put(*path):
    """Return a change that puts the last of its arguments where the others lead."""
    *keys, last, value = path

    def change(record):
        for key in keys:
            record = record[key]
        if value is ...:
            del record[last]
        else:
            record[last] = value

    return change


PARAMS = ("head", "head", "params", "dict")
INNER = ("fitted", "estimator_", "model")
LABELS = {"dtype": "<i8", "labels": [1, 0, 2, 3, 4]}
REFUSED = {
    "classes not sorted": ("classifier", ("fitted", "classes_", LABELS), "'classes_'"),
    "a class twice": ("classifier", ("fitted", "classes_", "labels", [0, 0, 2, 3, 4]), "classes_"),
    "a class less": ("search", ("fitted", "classes_", "labels", [0, 1, 2, 3]), "classes_"),
    "a class that is 1.5": ("classifier", ("fitted", "classes_", "labels", 1, 1.5), "labels"),
    "no classes": ("classifier", ("fitted", "classes_", ...), "must have 'classes_'"),
    "another order of grades": ("classifier", ("fitted", "grades_", LABELS), "'grades_'"),
    "an inner order": ("tuned", (*INNER, "params", "grades", [1, 0, 2, 3, 4]), "'grades_'"),
    "falling cutpoints": ("fixed", ("params", "cutpoints", [2.0, 1.0, 3.0, 4.0]), "cutpoints"),
    "too few cutpoints": (
        "fixed",
        ("fitted", "cutpoints_", {"dtype": "<f8", "labels": [0.5, 1.5]}),
        "one fewer than the grades",
    ),
    "cutpoints missing": (
        "fixed",
        ("fitted", "cutpoints_", {"dtype": "<f8", "labels": [0.5, 1.5, 2.5, float("nan")]}),
        "'cutpoints_'",
    ),
    "no folds": ("ensemble", ("fitted", "estimators_", []), "'estimators_'"),
    "a fold less": ("ensemble", ("fitted", "cv_results_", {"dict": []}), "'cv_results_'"),
    "another voting": ("ensemble", ("fitted", "voting_", "cutpoints"), "voting"),
    "a fold that is none": ("ensemble", ("fitted", "oof_fold_", "labels", 0, 9), "'oof_fold_'"),
    "no scores": ("conformal", ("fitted", "rule_", "fields", "scores", {"tuple": []}), "'scores'"),
    "alpha of 2": ("conformal", ("fitted", "rule_", "fields", "alpha", 2.0), "'alpha'"),
    "more images": ("conformal", ("fitted", "n_calibration_", 7), "'n_calibration_'"),
    "a map less": ("calibrated", ("fitted", "maps_", 0, ...), "'maps_'"),
    "a falling map": (
        "calibrated",
        ("fitted", "maps_", 0, "fields", "x", [-1.0, 0.0]),
        "a rising sigmoid",
    ),
    "another ballot": ("calibrated", ("fitted", "ballot_", "fields", "voting", "hard"), "ballot_"),
    "other columns": ("second_stage", ("fitted", "second_features_", ["severity"]), "second_feat"),
    "regressor": ("search", ("head", "is_regressor", True), "'is_regressor'"),
    "more grades": ("classifier", ("head", "n_grades", 6), "'n_grades'"),
    "a spread below 0": ("tuned", (*INNER, "head", "residual_std", -1.0), "'residual_std'"),
    "a spread that is missing": ("tuned", (*INNER, "head", "residual_std", float("nan")), "std"),
    "weights elsewhere": ("classifier", ("frozen", "weights", "/etc/passwd"), "'weights'"),
    "a huge picture": ("classifier", ("frozen", "image_size", 10**6), "'image_size'"),
    "another pooling": ("classifier", ("frozen", "pooling", "median"), "'pooling'"),
    "another place": ("classifier", ("frozen", "pool_over", "disc"), "'pool_over'"),
    "stages of no kind": ("classifier", ("frozen", "stages", "0; 1"), "'stages'"),
    "no state": ("weights", ("frozen", "photometric", "state", []), "cannot be built"),
    "another state": ("weights", ("frozen", "photometric", "state", [["x", [1]]]), "be built"),
    "a million units": ("net", (*PARAMS, 2, ["units", 10**9]), "weights"),
    "a million layers": (
        "net",
        ("head", "head", "params", "dict", 1, ["layers", 10**9]),
        "weights",
    ),
    "more features": ("net", ("head", "n_features", 10**9), "weights"),
    "other features": ("net", ("fitted", "n_features_in_", 8), "'n_features_in_'"),
    "batches of -1": ("net", ("params", "batch_size", -1), "batch_size"),
    "a file elsewhere": ("search", ("head", "file", "../search/part-01.skops"), "list"),
    "a huge type": ("classifier", ("fitted", "classes_", "dtype", "<U99999999"), "'dtype'"),
    "no form": ("classifier", ("params", "augment", {"a": 1}), "'record'"),
    "code": ("classifier", ("params", "augment", {"kind": "os.system", "fields": {}}), "saveable"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_changed_value_is_refused(what, copy):
    name, path, match = REFUSED[what]
    folder = copy(name)
    fundus.load(folder)
    with pytest.raises(BundleError, match=match):
        fundus.load(edited(folder, put(*path)))


@pytest.mark.parametrize("name", ["cache", "callbacks", "log_dir", "n_jobs", "verbose"])
def test_parameters_of_a_run_are_neither_written_nor_read(name, today, copy):
    for path in today.iterdir():
        record = json.loads((path / "model.json").read_text())["model"]
        assert name not in record.get("params", {})
    folder = edited(copy("classifier"), put("params", name, None))
    with pytest.raises(BundleError, match=f"sets {name} of TransferClassifier, which are not sav"):
        fundus.load(folder)


def test_those_of_a_pipeline_are_the_defaults(tmp_path):
    cache = str(tmp_path / "cache")
    extractor = FeatureExtractor("tiny", weights="fixed", cache=cache, n_jobs=1, verbose=1)
    model = make_pipeline(extractor, StandardScaler(), LogisticRegression())
    fitted = FoldEnsemble(model, cv=2, random_state=0).fit(IMAGES, [0, 1] * 3)
    for one in fitted.estimators_:
        one[-1].n_jobs = 10_000
    fitted.save(tmp_path / "model")
    assert fitted.estimators_[0][0].cache == cache  # the model itself is not changed
    for path in (tmp_path / "model").iterdir():
        assert cache.encode() not in path.read_bytes()
    found = fundus.load(tmp_path / "model").estimators_[0]
    assert (found[0].cache, found[0].n_jobs, found[0].verbose) == (True, None, 0)
    assert found[2].n_jobs is None
    skops.io.dump(fitted.estimators_[0], tmp_path / "model" / "part-02.skops")
    sign(tmp_path / "model")
    assert fundus.load(tmp_path / "model").estimators_[0][0].cache is True


@pytest.mark.parametrize("where", ["manifest.json", "model.json", "part-01.skops"])
@pytest.mark.parametrize("kind", ["link out", "link in", "pipe", "folder", "device"])
def test_only_ordinary_files_are_read(where, kind, copy, tmp_path):
    folder = copy("search")
    (folder / where).rename(tmp_path / "kept")
    if kind == "link out":
        (folder / where).symlink_to(tmp_path / "kept")
    elif kind == "link in":
        shutil.copy(tmp_path / "kept", folder / "inside")
        (folder / where).symlink_to("inside")
    elif kind == "pipe":
        os.mkfifo(folder / where)
    elif kind == "folder":
        (folder / where).mkdir()
    else:
        (folder / where).symlink_to("/dev/zero")
    start = time.monotonic()
    with pytest.raises(BundleError, match="is a link" if "link" in kind else "link|ordinary file"):
        fundus.load(folder)
    assert time.monotonic() - start < 30  # it does not wait for a writer


def test_the_folder_itself_may_be_a_link(today, tmp_path):
    (tmp_path / "link").symlink_to(today / "classifier")
    assert fundus.load(tmp_path / "link").classes_.tolist() == [0, 1, 2, 3, 4]


NAMES = ["../up", "/etc/passwd", "a/b", "a\\b", "C:a", ".hidden", "..", "a\0b", "", "manifest.json"]


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_lists_plain_names(name, copy):
    folder = copy("classifier")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="plain names"):
        fundus.load(folder)


@pytest.mark.parametrize("name", ["model.json", "part-01.skops"])
def test_the_manifest_lists_every_file_that_is_read(name, copy):
    folder = copy("search")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"must list all files|does not list"):
        fundus.load(folder)


@pytest.mark.parametrize("name", ["ensemble", "weights", "net", "run", "pipeline"])
def test_a_file_that_is_replaced_after_it_was_read_does_not_matter(name, copy, monkeypatch):
    folder, read = copy(name), saved_files.read_file
    seen = []

    def read_and_replaced(path, **options):
        data = read(path, **options)
        seen.append(path.name)
        path.write_bytes(b"something else")
        return data

    monkeypatch.setattr(saved_files, "read_file", read_and_replaced)
    if name == "weights":  # the network is built from the file, which must still be the same
        with pytest.raises(BundleError, match="is not the one that the model was loaded with"):
            fundus.load(folder)
        return
    fundus.load(folder)
    assert len(set(seen)) == len(seen) > 1


def test_weights_that_are_replaced_after_loading_are_refused(copy):
    from fundus.backbones.network import _built, _digest, _split_frozen

    folder = copy("weights")
    model = fundus.load(folder)
    model.cache = False
    expected = model.predict_severity(IMAGES)
    (weights,) = folder.glob("*.h5")
    with h5py.File(weights, "r+") as file:
        name = next(n for n in _arrays(file) if file[n].ndim > 1)
        file[name][...] = 0
    for kept in (_built, _split_frozen, _digest):
        kept.cache_clear()
    with pytest.raises(BundleError, match="is not the one that the model was loaded with"):
        model.predict_severity(IMAGES)
    assert np.isfinite(expected).all()


def _arrays(file):
    names = []
    file.visititems(lambda n, v: names.append(n) if isinstance(v, h5py.Dataset) else None)
    return names


def _large(file, name, array):
    file.create_dataset(name, (2**16, 2**16), "f4", compression="gzip", chunks=(512, 512))


def _never_stored(file, name, array):
    file.create_dataset(name, array.shape, "f4")


def _external(file, name, array):
    file.create_dataset(name, array.shape, "f4", external=[("/etc/passwd", 0, 10**9)])


def _virtual(file, name, array):
    layout = h5py.VirtualLayout(array.shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "a", array.shape)
    file.create_virtual_dataset(name, layout)


def _link(file, name, array):
    file[name] = h5py.ExternalLink("/etc/passwd", "/")


def _missing(file, name, array):
    file[name] = np.full_like(array, np.nan)


@pytest.mark.parametrize("change", [_large, _never_stored, _external, _virtual, _link, _missing])
def test_hdf5_is_checked_before_it_is_read(change, copy, monkeypatch):
    folder = copy("weights")
    (weights,) = folder.glob("*.h5")
    with h5py.File(weights, "r+") as file:
        name = _arrays(file)[0]
        array = file[name][()]
        del file[name]
        change(file, name, array)
    sign(folder)
    read = h5py.Dataset.__getitem__

    def noted(array, *args):
        assert change is _missing or array.name != f"/{name}"
        return read(array, *args)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", noted)
    start = time.process_time()
    with pytest.raises(BundleError, match=r"cannot be used, since its (array|part)"):
        fundus.load(folder)
    assert time.process_time() - start < 2


def test_weights_of_a_user_are_checked_too(tmp_path):
    from fundus.backbones.build import build_backbone
    from fundus.plugins.registry import get_registry

    spec = get_registry().find("backbone", "tiny").spec
    path = tmp_path / "own.weights.h5"
    build_backbone(spec, weights=None).save_weights(path)
    build_backbone(spec, weights=path)
    with h5py.File(path, "r+") as file:
        name = _arrays(file)[0]
        del file[name]
        _large(file, name, None)
    with pytest.raises(BundleError, match="which no weight has"):
        build_backbone(spec, weights=path)


def _parts(path):
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def _zipped(path, parts, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("name", ["part-01.npz", "part-02.skops"])
def test_archives_cannot_grow(name, copy):
    folder = copy("ensemble")
    path = next(p for p in folder.iterdir() if p.suffix == Path(name).suffix)
    parts = _parts(path)
    _zipped(path, parts, zipfile.ZIP_DEFLATED)
    sign(folder)
    with pytest.raises(BundleError, match="is compressed"):
        fundus.load(folder)
    key = next(key for key in parts if key.endswith(".npy"))
    for shape in ((10**10,), (2**40, 2**40), (-1,), (3, 0, 10**30)):
        header = io.BytesIO()
        fields = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, fields)
        _zipped(path, {**parts, key: header.getvalue()})
        sign(folder)
        with pytest.raises(BundleError, match="has not as many bytes as its shape|cannot be built"):
            fundus.load(folder)


def test_objects_that_refer_to_each_other_cannot_grow(copy):
    folder = copy("search")
    (path,) = folder.glob("*.skops")
    parts = _parts(path)
    schema = json.loads(parts["schema.json"])
    like = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
    node = {**like, "__id__": 1, "content": []}
    for k in range(2, 60):  # each holds the one before twice: 2 ** 58 in all
        node = {**like, "__id__": k, "content": [node, {**like, "__id__": k - 1, "content": []}]}
    schema["content"]["content"]["odd"] = node
    schema["content"]["key_types"]["content"].append(schema["content"]["key_types"]["content"][0])
    _zipped(path, {**parts, "schema.json": json.dumps(schema).encode()})
    sign(folder)
    start = time.process_time()
    with pytest.raises(BundleError, match="two of its objects have one number"):
        fundus.load(folder)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("depth", [300, 100_000])
@pytest.mark.parametrize("name", ["manifest.json", "model.json"])
def test_deep_json_is_an_error(depth, name, copy):
    folder = copy("classifier")
    (folder / name).write_text("[" * depth + "]" * depth)
    if name == "model.json":
        sign(folder)
    with pytest.raises(BundleError):
        fundus.load(folder)


def test_arrays_of_a_head_must_be_finite_and_fit(copy):
    folder = copy("net")
    (path,) = folder.glob("*.npz")
    arrays = dict(np.load(path))
    for change in (
        {"w0000": np.full_like(arrays["w0000"], np.nan)},
        {"w0000": arrays["w0000"].T},
        {"w0001": arrays["w0001"].astype("i4")},
        {"w9999": arrays["w0000"]},
    ):
        np.savez(path, **{**arrays, **change})
        sign(folder)
        with pytest.raises(BundleError, match="'weights' of head"):
            fundus.load(folder)


def test_support_vectors_that_do_not_fit_are_not_used(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    model = TransferClassifier("precomputed", "svm", random_state=0).fit(X, y)
    machine = model.head_.estimator[-1].calibrated_classifiers_[0].estimator
    # its C code would read beyond the end
    machine._dual_coef_ = machine._dual_coef_[:, :3]
    model.save(tmp_path / "model")
    with pytest.raises(BundleError, match="sizes of _dual_coef_ do not fit"):
        fundus.load(tmp_path / "model")


class Counted(Saves, BaseEstimator):
    """One of a third party's that says what its attribute must be."""

    _saved = {"n_": COUNT}  # noqa: RUF012 - as the base class has it

    def fit(self, X, y=None):
        self.n_ = len(X)
        return self

    def _check_saved(self):
        if self.n_ == 13:
            raise ValueError("13 brings bad luck")


def test_classes_of_others_say_what_is_sound(tmp_path):
    Counted().fit([1, 2]).save(tmp_path / "model")
    assert fundus.load(tmp_path / "model").n_ == 2
    for value, match in ((-1, "'n_' of Counted must be a whole number"), (13, "bad luck")):
        with pytest.raises(BundleError, match=match):
            fundus.load(edited(tmp_path / "model", put("fitted", "n_", value)))


def test_frozen_layers_of_another_width_are_told(copy):
    folder = edited(copy("classifier"), put("frozen", "pooling", "avg+max"))
    model = fundus.load(folder)  # without TensorFlow the width is not known
    model.cache = False
    with pytest.raises(BundleError, match="takes 16 features, and the frozen layers give 32"):
        model.predict(IMAGES)
