"""Exports at their edges: foreign layers, stores, swaps of folders, odd files and numbers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from fundus import (
    Cache,
    FixedCutpointClassifier,
    OrdinalConformalClassifier,
    TransferClassifier,
    export_model,
)
from fundus.exceptions import ExportError, WriteError
from fundus.explain.linear import is_affine
from fundus.export import folder as writing
from fundus.export.checking import drawn_photographs
from fundus.export.formats import FORMATS
from fundus.tracing.heads import traced_head
from fundus.training.fitted import FittedEstimator

TEMPLATES = Path(writing.__file__).parent / "templates"
BASE = {"weights": "fixed", "cache": False, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return TransferClassifier("tiny", "ridge", **BASE).fit(drawn_photographs(), range(5))


def test_a_class_that_the_estimator_lacks_has_probability_0():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)).astype(np.float32), np.repeat([0, 1, 3], 10)
    head = FittedEstimator(LogisticRegression().fit(X, y), 4, is_regressor=False)
    inputs = keras.Input((4,))
    graph = keras.Model(inputs, traced_head(head, [inputs], np.arange(4)))
    found = np.asarray(graph(X, training=False))
    assert np.abs(found[:, [0, 1, 3]] - head.estimator.predict_proba(X)).max() < 1e-5
    assert (found[:, 2] == 0).all()


@keras.saving.register_keras_serializable("elsewhere")
class Halving(keras.layers.Layer):
    """A layer of another package."""

    def call(self, x):
        return x / 2.0


def test_layers_of_other_packages_are_no_keras_file(tmp_path):
    inner = keras.Sequential([keras.Input((2,)), Halving()])
    inputs = keras.Input((2,))
    model = keras.Model(inputs, inner(inputs))
    with pytest.raises(ExportError, match=r"Halving of .*test_export_findings.*to 'onnx'"):
        FORMATS["keras"].write(model, tmp_path / "model.keras")


def test_the_document_names_the_rule_inside(fitted, tmp_path):
    X, y = drawn_photographs(), np.arange(5)
    cut = FixedCutpointClassifier(FrozenEstimator(fitted), cutpoints=(0.4, 1, 2, 3)).fit(X, y)
    sets = OrdinalConformalClassifier(FrozenEstimator(cut), confidence_level=0.5).fit(X, y)
    export_model(sets, tmp_path / "out", to="keras")
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert "cutpoints" in about["decided_by"]
    assert about["cutpoints"] == [0.4, 1, 2, 3]
    assert about["versions"]["opencv"] == cv2.__version__
    assert about["versions"]["numpy"] == np.__version__


def test_training_the_graph_changes_no_model(fitted):
    X = drawn_photographs()
    before, graph = fitted.predict_severity(X), fitted.to_keras()
    graph.set_weights([w + 1.0 for w in graph.get_weights()])
    assert np.array_equal(fitted.predict_severity(X), before)


@pytest.fixture(scope="module")
def prepare():
    names: dict = {}
    exec((TEMPLATES / "prepare.py.txt").read_text(), names)
    return names["prepare"]


def test_files_of_which_other_pixels_come_are_refused(prepare, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 4), dtype=np.uint8)
    jpeg = cv2.imencode(".jpg", image[..., :3])[1].tobytes()
    deep = cv2.imencode(".png", image[..., :3].astype(np.uint16) * 257)[1].tobytes()
    clear = cv2.imencode(".png", image)[1].tobytes()
    image[..., 3] = 255
    opaque = cv2.imencode(".png", image)[1].tobytes()
    cases = [
        (jpeg[: len(jpeg) // 2], "truncated: copy it again"),
        (opaque[:-200], "truncated: copy it again"),
        (deep, "uint16 pixels: convert it to 8 bits"),
        (clear, "transparent in places: put it on black"),
        (bytes(128) + b"DICM" + bytes(50), "convert DICOM to PNG"),
        (b"", "no image"),
    ]
    path = tmp_path / "file"
    for data, why in cases:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=why):
            prepare(path, 32)
    for data in (jpeg, opaque):
        path.write_bytes(data)
        assert prepare(path, 32).shape == (32, 32, 3)


def test_a_scaler_that_clips_is_not_affine():
    X = np.eye(3)
    assert is_affine(MaxAbsScaler().fit(X))
    try:
        clipping = MaxAbsScaler(clip=True).fit(X)
    except TypeError:
        pytest.skip("this release of scikit-learn has no MaxAbsScaler(clip=)")
    assert not is_affine(clipping)
    model = make_pipeline(clipping, Ridge()).fit(X, [0, 1, 2])
    with pytest.raises(ExportError, match="MaxAbsScaler"):
        traced_head(FittedEstimator(model, 3, True), [keras.Input((3,))], np.arange(3))


@pytest.mark.parametrize("failing", [1, 2])
def test_a_swap_that_fails_leaves_what_was_there(failing, tmp_path, monkeypatch):
    new, target, plain, calls = tmp_path / ".out.12345678.new", tmp_path / "out", os.rename, []
    for folder in (new, target):
        folder.mkdir()
        (folder / "name").write_text(folder.name)

    def rename(source, goal):
        calls.append(source)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        plain(source, goal)

    monkeypatch.setattr(writing.os, "rename", rename)
    with pytest.raises(WriteError, match="Input/output error"):
        writing._take_place(new, target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (target / "name").read_text() == "out"


def test_the_working_folder_and_mounts_are_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    writing._refuse_fixed(tmp_path)
    with monkeypatch.context() as patched:
        patched.chdir(tmp_path / "inside")
        with pytest.raises(ExportError, match="holds, the working folder"):
            writing._refuse_fixed(tmp_path)
        writing._refuse_fixed(tmp_path / "other")
    monkeypatch.setattr(writing.os.path, "ismount", lambda path: True)
    with pytest.raises(ExportError, match="a disk is mounted there"):
        writing._refuse_fixed(tmp_path)


@pytest.mark.parametrize("severity", [1.0, np.nan])
def test_the_script_gives_no_grade_of_what_is_not_finite(severity, tmp_path, monkeypatch, capsys):
    class Session:
        def __init__(self, *_, **__):
            pass

        def get_outputs(self):
            return [SimpleNamespace(name="severity"), SimpleNamespace(name="grade")]

        def run(self, *_):
            return [np.array([severity], np.float32), np.array([1])]

    about = {"file": "f", "input": {"name": "image", "made_by": {}}, "grades": ["a", "b"]}
    (tmp_path / "model.json").write_text(json.dumps(about))
    modules = {
        "prepare": SimpleNamespace(prepare=lambda path: np.zeros((2, 2, 3), np.uint8)),
        "onnxruntime": SimpleNamespace(InferenceSession=Session),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "argv", ["run.py", "eye.jpg"])
    code = (TEMPLATES / "run_onnx.py.txt").read_text()
    names = {"__file__": str(tmp_path / "run.py")}
    if np.isfinite(severity):
        exec(code, names)
        assert json.loads(capsys.readouterr().out)["grade"] == "b"
        return
    with pytest.raises(SystemExit, match=r"eye\.jpg: .*not finite"):
        exec(code, names)


def test_the_check_neither_reads_nor_fills_a_store(tmp_path):
    store = Cache(tmp_path / "store", dtype="float16")
    model = TransferClassifier("tiny", "ridge", weights="fixed", cache=store, random_state=0)
    model.fit(drawn_photographs()[:, ::2, ::2].copy(), range(5))
    before = {path: path.stat().st_size for path in (tmp_path / "store").rglob("*")}
    export_model(model, tmp_path / "out", to="keras")
    assert {path: path.stat().st_size for path in (tmp_path / "store").rglob("*")} == before
    assert model.cache is store


def test_graphs_inside_operations_are_refused_by_name():
    onnx = pytest.importorskip("onnx")
    from fundus.export.canonical import canonical

    value = onnx.helper.make_tensor_value_info
    out = value("out", onnx.TensorProto.FLOAT, [1])
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["b"])], "branch", [],
        [value("b", onnx.TensorProto.FLOAT, [1])],
    )  # fmt: skip
    node = onnx.helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch)
    given = [value("c", onnx.TensorProto.BOOL, [1]), value("x", onnx.TensorProto.FLOAT, [1])]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", given, [out]))
    with pytest.raises(ExportError, match=r"graphs inside \(If\)"):
        canonical(model, ["out"])
