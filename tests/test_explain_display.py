"""Figures and files of maps: what they show, and that files are whole or not there."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fundus import FoldEnsemble, SaliencyDisplay, TransferClassifier
from fundus.exceptions import DataError, WriteError
from fundus.explain.explanation import is_arrays
from fundus.explain.overlay import coloured


@pytest.fixture(scope="module")
def models():
    X = np.zeros((12, 40, 56, 3), np.uint8)
    X[:, 3:37, 8:48] = np.random.default_rng(0).integers(60, 200, (12, 34, 40, 3))
    y = np.arange(12) % 3
    one = TransferClassifier("tiny", "ridge", weights="fixed", cache=False)
    return X, one.fit(X, y), FoldEnsemble(one, cv=2, random_state=0).fit(X, y)


def test_a_figure_has_a_row_for_each_photograph(models):
    import matplotlib.pyplot as plt

    X, one, several = models
    before = plt.get_fignums()
    for model, panels in ((one, 2), (several, 3)):
        display = SaliencyDisplay.from_estimator(model, X[:2])
        assert display.axes_.shape == (2, panels)
        assert display.ax_ is display.axes_[0, 1]
        assert display.figure_ is display.ax_.figure
        shown = display.axes_[1, 0].images[0].get_array()
        np.testing.assert_array_equal(shown, X[1])
        overlay = display.explanation.to_overlay(1)
        np.testing.assert_array_equal(display.axes_[1, 1].images[0].get_array(), overlay)
        value = f"{display.explanation.value[1]:.2f}"
        assert display.axes_[1, 1].get_xlabel().startswith(f"severity {value} = ")
        display.figure_.canvas.draw()
    assert plt.get_fignums() == before


def test_given_axes_hold_one_map(models):
    X, one, _ = models
    ax = Figure().subplots()
    display = SaliencyDisplay.from_estimator(one, X[:1], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert len(ax.images) == 1
    with pytest.raises(DataError, match="Got 3"):
        SaliencyDisplay(one.explain(X[:3])).plot(ax)
    assert SaliencyDisplay(one.explain(X[:3])).plot(rows=[2]).axes_.shape == (1, 2)
    with pytest.raises(DataError, match="Got 0"):
        SaliencyDisplay(one.explain(X[:3])).plot(rows=[])


def test_colours_tell_signs_and_sizes():
    photograph = np.full((2, 3, 3), 128, np.uint8)
    values = np.array([[2.0, 1.0, 0.0], [-2.0, -1.0, 0.0]], np.float32)
    found = coloured(photograph, values).astype(int)
    warm = found[..., 0] - found[..., 2]
    assert warm[0, 0] > warm[0, 1] > warm[0, 2] == 0
    assert warm[1, 0] < warm[1, 1] < warm[1, 2] == 0
    green = coloured(photograph, np.abs(values), disagreement=True).astype(int)
    assert (green[..., 1] - green[..., 0])[0, 0] > 50
    # a map of zeros changes no colour of a grey photograph
    assert (coloured(photograph, 0 * values) == 128).all()


def test_files_hold_what_is_shown(models, tmp_path):
    X, _, several = models
    found = several.explain(X[:2])
    written = found.save(tmp_path, ["左眼", "b/2"], arrays=True)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        "b/2.npz",
        "b/2.png",
        "disagreement/b/2.png",
        "disagreement/左眼.png",
        "左眼.npz",
        "左眼.png",
    ]
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(written)
    png = (imread(tmp_path / "b" / "2.png")[..., :3] * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(png, found.to_overlay(1))
    with np.load(tmp_path / "b" / "2.npz") as held:
        np.testing.assert_array_equal(held["map"], found.map(1))
        np.testing.assert_array_equal(held["disagreement"], found.disagreement(1))
        assert held["bias"] == found.bias[1]
        assert str(held["of"]) == "severity"
        total = held["map"].sum(dtype=np.float64) + held["bias"]
        assert total == pytest.approx(float(held["severity"]), abs=1e-4)
    assert is_arrays(tmp_path / "b" / "2.npz")
    assert not is_arrays(tmp_path / "b" / "2.png")


def test_a_file_that_cannot_be_written_leaves_the_old_one(models, tmp_path, monkeypatch):
    X, one, _ = models
    found = one.explain(X[:1])
    (path,) = found.save(tmp_path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.image.imsave", full)
    with pytest.raises(WriteError, match=r"0\.png"):
        found.save(tmp_path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["0.png"]
