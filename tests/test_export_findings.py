"""Exports at their edges: foreign layers, stores, swaps of folders, odd files and numbers."""

from __future__ import annotations

import hashlib
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
from fundus.exceptions import ExportError, ImageReadError, WriteError
from fundus.explain.linear import is_affine
from fundus.export import folder as writing
from fundus.export.checking import drawn_photographs
from fundus.export.formats import FORMATS
from fundus.images import ImageRecipe, load_image
from fundus.metrics.operating_points import OperatingPoint
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
        (b"BM" + bytes(50), "damaged"),
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


def outputs(severity):
    return {"severity": np.array([severity], np.float32), "grade": np.array([1])}


class Session:
    """Of onnxruntime."""

    severity = 1.0

    def __init__(self, *_, **__):
        pass

    def run(self, names, given):
        return [outputs(self.severity)[name] for name in names]


class Other:
    """A model of Keras, or an interpreter of TensorFlow Lite."""

    def __init__(self, *_, **__):
        pass

    def get_signature_runner(self):
        return self

    def __call__(self, **_):
        return outputs(Session.severity)

    def predict_on_batch(self, _):
        return outputs(Session.severity)


MODULES = {
    "onnx": {"onnxruntime": SimpleNamespace(InferenceSession=Session)},
    "keras": {
        "keras": SimpleNamespace(
            models=SimpleNamespace(load_model=lambda path, compile: Other()),
        )
    },
    "tflite": {
        "ai_edge_litert": SimpleNamespace(),
        "ai_edge_litert.interpreter": SimpleNamespace(Interpreter=Other),
    },
}


@pytest.fixture(params=MODULES)
def script(request, tmp_path, monkeypatch, capsys):
    """Return a function that runs a script on files, and gives its lines and how it ended."""
    names: dict = {}
    exec((TEMPLATES / "prepare.py.txt").read_text(), names)
    own = {name: names[name] for name in ("checked", "named", "prepare")}
    modules = {"prepare": SimpleNamespace(**own), **MODULES[request.param]}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "f").write_bytes(b"the model")
    about = {
        "file": "f",
        "sha256": hashlib.sha256(b"the model").hexdigest(),
        "input": {"name": "image", "made_by": {"size": 8}},
        "outputs": {"severity": {}, "grade": {}},
        "grades": ["a", "b"],
        "operating_points": {"referable": [{"threshold": 0.9}], "other": []},
    }
    (tmp_path / "model.json").write_text(json.dumps(about))
    code = (TEMPLATES / f"run_{request.param}.py.txt").read_text()

    def run(*paths):
        monkeypatch.setattr(sys, "argv", ["run.py", *map(str, paths)])
        with pytest.raises(SystemExit) as ended:
            exec(code, {"__file__": str(tmp_path / "run.py")})
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()], ended.value.code

    return run


def test_the_script_goes_on_after_a_file_that_is_none(script, tmp_path):
    good = tmp_path / "eye.png"
    cv2.imwrite(str(good), np.full((16, 16, 3), 90, np.uint8))
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xda")
    told, code = script(good, tmp_path / "cut.jpg", tmp_path / "none.png", good)
    assert told[0] == told[3]
    assert (told[0]["grade"], told[0]["severity"], told[0]["referable"]) == ("b", 1.0, True)
    assert [list(row) for row in told[1:3]] == [["file", "error"]] * 2
    assert told[1]["file"] == str(tmp_path / "cut.jpg")
    assert "truncated" in told[1]["error"]
    assert "No such file" in told[2]["error"]
    assert code == 1
    assert script(good) == (told[:1], 0)


def test_the_script_gives_no_grade_of_what_is_not_finite(script, tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "severity", np.nan)
    cv2.imwrite(str(tmp_path / "eye.png"), np.full((16, 16, 3), 90, np.uint8))
    told, code = script(tmp_path / "eye.png")
    assert list(told[0]) == ["file", "error"]
    assert "not finite" in told[0]["error"]
    assert code == 1


def test_the_script_refuses_another_model_and_tells_its_use(script, tmp_path):
    told, code = script()
    assert told == []
    assert code.startswith("Grade photographs: python run.py PHOTOGRAPH")
    (tmp_path / "f").write_bytes(b"another model")
    told, code = script(tmp_path / "eye.png")
    assert told == []
    assert "the file is damaged or another one" in code


def test_other_kinds_of_files_are_refused_as_they_are_here(prepare, tmp_path):
    image = np.full((64, 64, 3), 90, np.uint8)
    for ending in (".jp2", ".hdr"):
        path = tmp_path / f"eye{ending}"
        path.write_bytes(cv2.imencode(ending, image)[1].tobytes())
        with pytest.raises(ValueError, match="no image of a kind that is read"):
            prepare(path, 8)
        with pytest.raises(ImageReadError):
            load_image(path, ImageRecipe(8))


def test_thresholds_leave_with_the_model(fitted, tmp_path):
    points = [OperatingPoint(1.25, "sensitivity", 0.9, 0.92, 0.81)]
    model = FixedCutpointClassifier(FrozenEstimator(fitted), cutpoints=(0.4, 1, 2, 3))
    model.fit(drawn_photographs(), np.arange(5)).operating_points_ = {"referable": points}
    export_model(model, tmp_path / "out", to="keras")
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["operating_points"] == {"referable": [points[0].to_dict()]}
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "Referable: severity of 1.2500 or more, chosen for a sensitivity of 0.9" in card


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
