"""Exported folders: they run without this library, whole or absent, and are what they say."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import cv2
import numpy as np
import pytest

import fundus
from fundus import FoldEnsemble, TransferClassifier, export_model, make_grader
from fundus.exceptions import ExportError, InvalidParameterError, MissingDependencyError
from fundus.export import folder as writing
from fundus.export import formats
from fundus.export.checking import predictions_of
from fundus.images import ImageRecipe, load_image
from fundus.saving.bundle import load, save

CLOSE = 1e-4
NEEDS = {"onnx": ("onnx", "onnxruntime", "tf2onnx"), "tflite": ("ai_edge_litert",), "keras": ()}


def skip_without(to):
    missing = [name for name in NEEDS[to] if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'fundus-zoo[{to}]'")


@pytest.fixture(scope="module")
def model(photographs):
    """Two folds of the recommended grader, with a network that takes no time."""
    grader = make_grader(random_state=0)
    grader.set_params(
        cv=2,
        estimator__backbone="tiny",
        estimator__weights="fixed",
        estimator__image_size=32,
        estimator__augment_views=1,
        estimator__stages=None,
        estimator__cache=False,
    )
    return FoldEnsemble(grader, cv=2, random_state=0).fit(photographs.paths, photographs.grades)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Return a function that gives the folder of a format, written once."""
    made = {}

    def folder(to):
        skip_without(to)
        if to not in made:
            made[to] = tmp_path_factory.mktemp("exported") / to
            away = export_model(model, made[to], to=to)
            assert max(away["severity"], away["probabilities"]) < CLOSE
            assert away["grade"] == 0
        return made[to]

    return folder


#: Refuses this library, as if it were not installed; TensorFlow too where it is not needed.
_WITHOUT = """
import sys, runpy
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refused())
sys.argv = sys.argv[1:]
sys.path.insert(0, {folder!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(folder, paths, to):
    blocked = {"fundus", "sklearn", "scipy", "pandas"}
    blocked |= set() if to == "keras" else {"tensorflow", "keras"}
    blocked -= {"scipy", "pandas", "sklearn"} if to == "keras" else set()
    code = _WITHOUT.format(blocked=blocked, folder=str(folder))
    command = [sys.executable, "-c", code, str(folder / "run.py"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "keras", pytest.param("tflite", marks=pytest.mark.zoo)])
def test_the_folder_runs_where_this_library_is_not(to, exported, model, photographs):
    folder = exported(to)
    paths = photographs.paths[:20]
    told = run_alone(folder, paths, to)
    expected = predictions_of(model, paths)
    for name in ("probabilities", "severity"):
        assert np.abs(np.array([row[name] for row in told]) - expected[name]).max() < CLOSE
    assert [row["grade"] for row in told] == [f"class{k}" for k in model.predict(paths)]
    assert [row["file"] for row in told] == [str(path) for path in paths]
    assert len((folder / "run.py").read_text().splitlines()) <= 26


@pytest.mark.slow
def test_the_json_and_the_card_say_what_it_is(exported, model):
    folder = exported("keras")
    about = json.loads((folder / "model.json").read_text())
    assert about["kind"] == "fundus export"
    assert about["sha256"] == hashlib.sha256((folder / about["file"]).read_bytes()).hexdigest()
    assert about["input"]["shape"] == ["batch", 32, 32, 3]
    assert about["input"]["colours"] == "RGB"
    assert about["input"]["made_by"] == {"size": 32, "crop": "fov", "aperture": None}
    assert list(about["outputs"]) == ["probabilities", "severity", "grade"]
    assert about["grades"] == about["classes"] == [f"class{k}" for k in range(5)]
    cutpoints = [float(c) for c in about["cutpoints"]]
    severity = np.linspace(-1, 5, 200)
    assert len(cutpoints) == 4
    assert "cutpoints at or below the severity" in about["decided_by"]
    assert np.array_equal(np.searchsorted(model.cutpoints_of_all(), severity, "right"),
                          np.searchsorted(cutpoints, severity, "right"))  # fmt: skip
    assert about["versions"]["fundus-zoo"] == fundus.__version__
    card = (folder / "model_card.md").read_text()
    assert about["sha256"] in card
    assert "no medical device" in card
    assert re.search(r"uint8 RGB, 0 to 255, \(batch, 32, 32, 3\)", card)


def prepared(folder, name="prepared"):
    """The module prepare.py of an export."""
    spec = spec_from_file_location(name, folder / "prepare.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.prepare


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepare")
    text = Path(writing.__file__).parent / "templates" / "prepare.py.txt"
    shutil.copy(text, folder / "prepare.py")
    return prepared(folder)


RECIPES = [(32, "fov", None), (61, "fov", "circle"), (96, "square", None), (20, None, None)]


@pytest.mark.parametrize(("size", "crop", "aperture"), RECIPES)
def test_the_script_makes_the_same_pixels(size, crop, aperture, prepare, photographs):
    recipe = ImageRecipe(size, crop, aperture)
    for path in photographs.paths[:10]:
        assert np.array_equal(prepare(path, size, crop, aperture), load_image(path, recipe))


def test_the_script_joins_the_same_pixels(prepare, tmp_path):
    image = np.zeros((30, 30, 3), np.uint8)
    image[5:20, 5:20] = image[20:25, 20:25] = 150  # they touch at a corner alone
    path = str(tmp_path / "corner.png")
    cv2.imwrite(path, image)
    assert np.array_equal(prepare(path, 15), load_image(path, ImageRecipe(15)))
    assert (prepare(path, 15) == 150).all()


@pytest.mark.parametrize("size", [224, 320])
def test_the_script_makes_the_same_pixels_of_real_photographs(size, prepare, idrid, shared_data):
    recipe = ImageRecipe(size)
    others = sorted((shared_data / "second_camera").rglob("*.*"))
    others = [p for p in others if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif")][:4]
    for path in [*idrid["path"][:6], *others]:
        assert np.array_equal(prepare(path, size), load_image(path, recipe)), path


@pytest.mark.slow
def test_two_exports_are_the_same_bytes(exported, model, tmp_path):
    first = exported("onnx")
    export_model(model, tmp_path / "again", to="onnx")
    for path in first.iterdir():
        if path.name != "__pycache__":
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


@pytest.fixture(scope="module")
def small(photographs):
    model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False, random_state=0)
    return model.fit(photographs.paths, photographs.grades)


def test_an_export_is_whole_or_absent(small, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    export_model(small, folder, to="keras")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ExportError, match="holds an earlier export: pass overwrite=True"):
        export_model(small, folder, to="keras")

    def broken(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(writing, "_write_texts", broken)
        with pytest.raises(OSError, match="No space"):
            export_model(small, folder, to="keras", overwrite=True)
        with pytest.raises(OSError, match="No space"):
            export_model(small, tmp_path / "new", to="keras")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "new").exists()
    export_model(small, folder, to="keras", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_files_are_never_replaced(small, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match="holds files that are no export: choose a new"):
        export_model(small, tmp_path, to="keras", overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_what_differs_from_the_model_is_not_kept(small, tmp_path, monkeypatch):
    plain = formats.FORMATS["keras"].runner

    def off(path):
        run = plain(path)
        return lambda pictures: {k: v + np.float32(2e-4) * (k == "severity")
                                 for k, v in run(pictures).items()}  # fmt: skip

    changed = formats.Format("keras", "model.keras", formats.FORMATS["keras"].write, off)
    monkeypatch.setitem(formats.FORMATS, "keras", changed)
    with pytest.raises(ExportError, match="must predict as the model does.*nothing is kept"):
        export_model(small, tmp_path / "out", to="keras")
    assert not (tmp_path / "out").exists()


def test_formats_that_are_unknown_or_lack_a_package_are_told(small, tmp_path, monkeypatch):
    with pytest.raises(InvalidParameterError, match="'to' parameter .*'keras', 'onnx', 'tflite'"):
        export_model(small, tmp_path / "out", to="torch")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"needs onnx, .*fundus-zoo\[onnx\]"):
        export_model(small, tmp_path / "out", to="onnx")


@pytest.mark.zoo
@pytest.mark.parametrize("to", ["onnx", "tflite", "keras"])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_backbones_with_weights_here(name, to, photographs, tmp_path):
    skip_without(to)
    grader = make_grader(random_state=0)
    grader.set_params(cv=2, estimator__backbone=name, estimator__augment_views=1)
    grader.fit(photographs.paths, photographs.grades)
    away = export_model(grader, tmp_path / "out", to=to)
    assert max(away["severity"], away["probabilities"]) < CLOSE


def test_a_loaded_model_is_exported(small, tmp_path):
    save(small, tmp_path / "saved")
    export_model(load(tmp_path / "saved"), tmp_path / "out", to="keras", more="# More\n\nof it.")
    assert (tmp_path / "out" / "model_card.md").read_text().endswith("# More\n\nof it.\n")
