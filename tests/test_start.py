"""What a user meets first: ``python -m fundus``, names, TensorFlow's start, errors as they end."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback

import pytest

import fundus
from fundus.exceptions import FundusError, UnknownNameError
from fundus.hookspecs import BackboneSpec
from fundus.plugins import Entry, get_registry
from fundus.plugins.records import Registry


def python(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess:
    """Run a fresh Python; a variable that is None is taken out."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": None, **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={name: value for name, value in env.items() if value is not None},
        check=False,
    )


def test_the_package_is_a_command():
    script = (
        "import runpy, sys\n"
        "sys.argv = ['fundus', '--help']\n"
        "try:\n    runpy.run_module('fundus', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(sorted({'keras', 'tensorflow', 'numpy'} & set(sys.modules)))"
    )
    result = python("-c", script)
    assert result.returncode == 0, result.stderr
    assert "backbones" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"
    assert python("-m", "fundus", "--version").stdout == f"fundus-zoo {fundus.__version__}\n"


def test_precomputed_is_among_the_names():
    names = fundus.list_backbones()
    assert names == sorted(names)
    assert "precomputed" in names
    assert "precomputed" not in get_registry().names("backbone")
    with pytest.raises(UnknownNameError, match="Did you mean 'precomputed'"):
        get_registry().find("backbone", "precomputd")
    with pytest.raises(UnknownNameError, match=r"Registered: .*, precomputed, resnet101"):
        get_registry().find("backbone", "zzz")
    with pytest.raises(UnknownNameError, match="called 'precomputed' that runs on images: .* 2-D"):
        fundus.FeatureExtractor("precomputed").fit(["a.png"])


def test_a_plugin_cannot_take_the_name_of_features():
    registry = Registry()
    spec = BackboneSpec(name="precomputed", build=print, image_size=8, parameters=1, licence="MIT")
    registry.entries["backbone"].append(Entry("odd", "odd-dist", spec))
    assert registry.names("backbone") == ["odd/precomputed"]
    assert registry.find("backbone", "odd/precomputed").spec is spec


FIT = """
import os, sys
import numpy as np
from fundus import FoldEnsemble, TransferClassifier
X = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
model = TransferClassifier("tiny", sys.argv[1], weights="fixed", pool_over="all", cache=False,
                           random_state=0)
if sys.argv[1] == "softmax":
    model.set_params(epochs=1, validation_fraction=0)
model.fit(X, [0, 1] * 6).predict(X)
if sys.argv[2:]:  # and in processes of their own
    model.save(sys.argv[2])
    FoldEnsemble(model, cv=2, n_jobs=2).fit(X, [0, 1] * 6).predict(X)
print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """What a program that fits prints, here and in its workers, and the model it saved."""
    path = tmp_path_factory.mktemp("fitted") / "model"
    return python("-W", "ignore", "-c", FIT, "softmax", str(path)), path


@pytest.mark.slow
def test_a_fit_prints_nothing_of_tensorflow_s_start(fitted):
    result, _ = fitted
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "None\n"  # programs that are started later see no trace of it


@pytest.mark.slow
def test_who_sets_tensorflow_s_level_sees_what_it_writes():
    result = python("-W", "ignore", "-c", FIT, "logistic", TF_CPP_MIN_LOG_LEVEL="0")
    assert result.returncode == 0, result.stderr
    assert "cpu_feature_guard" in result.stderr
    assert result.stdout == "0\n"


@pytest.mark.slow
def test_loading_a_trained_head_is_quiet(fitted):
    _, path = fitted
    result = python("-c", f"import fundus; fundus.load({str(path)!r}).head_.network()")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "n_jobs"),
    [
        *(("missing file", n_jobs) for n_jobs in (None, 2)),
        *(("rare grade", n_jobs) for n_jobs in (None, 1, 2)),
    ],
)
def test_an_expected_error_ends_in_one_traceback(photographs, n_jobs, fault):
    head = "svm" if fault == "rare grade" else "logistic"
    model = fundus.TransferClassifier("tiny", head, weights="fixed", cache=False)
    paths, y = photographs.paths[:12].tolist(), [0, 1] * 6
    if fault == "missing file":
        paths[3] = "nowhere.png"
    else:  # found out in the workers: one image of grade 1 to train on
        y = [0] * 11 + [1] if n_jobs is None else [0] * 10 + [1] * 2
    if n_jobs is not None:
        model = fundus.FoldEnsemble(model, cv=2, n_jobs=n_jobs)
    with pytest.raises(FundusError) as caught:
        model.fit(paths, y)
    told = "".join(traceback.format_exception(caught.value))
    assert told.count("Traceback (most recent call last)") == 1
    assert "_RemoteTraceback" not in told
    assert "nowhere.png" in told or "at least 2 training images" in told


LIBGL = "libGL.so.1", ("libgl1", "mesa-libGL")
LIBGTHREAD = "libgthread-2.0.so.0", ("libglib2.0-0", "glib2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "library", "packages"),
    [
        (["-c", "from fundus import TransferClassifier"], *LIBGL),
        (["-c", "import fundus.images.decoding"], *LIBGTHREAD),
        (["-m", "fundus", "demo"], *LIBGL),
    ],
)
def test_a_missing_system_library_is_told_with_its_package(tmp_path, command, library, packages):
    fake = f"raise ImportError('{library}: cannot open shared object file: No such file')"
    (tmp_path / "cv2.py").write_text(fake)
    search = os.pathsep.join([str(tmp_path), *sys.path])
    result = python(*command, PYTHONPATH=search)
    assert result.returncode == 1
    assert result.stderr.count("Traceback") <= 1
    told = " ".join(result.stderr.split())
    for part in (library, *packages, "opencv-python-headless"):
        assert part in told
    if command[0] == "-m":
        assert len(result.stderr.splitlines()) == 1


def test_opencv_that_is_not_installed_stays_an_import_error(tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('something else')")
    result = python(
        "-c", "import fundus.runtime.opencv", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])
    )
    assert result.stderr.splitlines()[-1] == "ImportError: something else"
