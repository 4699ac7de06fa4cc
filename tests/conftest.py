"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import itertools
import os
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

# before TensorFlow is imported anywhere: its start-up chatter helps nobody in a test log
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# graphs are made of very many objects that stay: looking for garbage among them takes a twentieth
gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs beside the checkout."""
    folder = Path(
        os.environ.get("FUNDUS_TEST_DATA")
        or Path(__file__).resolve().parents[1].parent / "shared" / "data"
    )
    if not folder.is_dir():
        pytest.skip(f"no real photographs at {folder}; set FUNDUS_TEST_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def idrid(shared_data) -> pd.DataFrame:
    """369 real photographs: columns path and grade."""
    table = pd.read_csv(shared_data / "idrid_train" / "labels.csv")
    paths = [str(shared_data / "idrid_train" / file) for file in table["file"]]
    return pd.DataFrame({"path": paths, "grade": table["grade"]})


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """40 synthetic photographs, 64 px, 5 grades, two eyes a patient."""
    from fundus import make_fundus

    folder = tmp_path_factory.mktemp("photographs")
    return make_fundus(40, 64, 0, out_dir=folder)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the Hub, of which nothing is cached; this machine has no token of it."""
    from hub_standin import running_hub
    from huggingface_hub import constants

    with running_hub() as found:
        place = found.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("FUNDUS_NETWORK_SECONDS", "10")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        yield found


@pytest.fixture(scope="session")
def evenly_graded(tmp_path_factory):
    """80 synthetic photographs with enough patients of each grade for folds inside folds."""
    from fundus import make_fundus

    folder = tmp_path_factory.mktemp("evenly")
    return make_fundus(80, 32, 0, out_dir=folder, grade_weights=[0.2] * 5)


@pytest.fixture(scope="session")
def blobs():
    """90 rows of 12 features whose three classes are easy to tell apart."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, 12)) + 3 * np.eye(12)[y]
    return X.astype(np.float32), y


_numbers = itertools.count()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a fake distribution on sys.path."""
    from fundus.plugins import registry

    monkeypatch.delenv("FUNDUS_STRICT_PLUGINS", raising=False)
    monkeypatch.delenv("FUNDUS_DISABLE_PLUGINS", raising=False)

    def add(point, code, *, distribution=None, version="1.0", folder=None):
        # a module name of its own, since Python remembers modules by name
        module = f"fake_plugin_{next(_numbers)}"
        distribution = distribution or f"dist-{point}"
        place = tmp_path / (folder or f"site{next(_numbers)}")
        place.mkdir(exist_ok=True)
        (place / f"{module}.py").write_text(textwrap.dedent(code))
        info = place / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[fundus]\n{point} = {module}\n")
        monkeypatch.syspath_prepend(place)
        return place

    # the registry of this process is kept, and must not keep what a test installs
    registry._loaded.cache_clear()
    yield add
    registry._loaded.cache_clear()
