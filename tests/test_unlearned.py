"""A training that ended no better than a constant prediction says so, and no other does."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from fundus import (
    ReluHead,
    SoftmaxHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    make_fundus,
)
from fundus.cli import app
from fundus.cli.screen import one_line_warnings
from fundus.exceptions import Mention, Message, UnlearnedWarning, warn_caller
from fundus.frozen.sources import ArraySource
from fundus.grades.labels import Grades
from fundus.training.tail import HeadFirst, Training
from fundus.transfer.sampling import Samples
from fundus.transfer.unlearned import tell_if_unlearned


def rows(n, slope=0.0):
    """Noise, and a first feature that rises with the grade."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, n)
    return (rng.normal(size=(n, 8)) + slope * y[:, None] * np.eye(8)[0]).astype(np.float32), y


def of_ours(caught):
    """Warnings of Keras and TensorFlow, which the suite ignores, are recorded too."""
    return [one for one in caught if one.category is UnlearnedWarning]


def net(head=None, **options):
    head = SoftmaxHead(units=16, layers=1, dropout=0.0) if head is None else head
    defaults = {"epochs": 1, "learning_rate": 1e-9, "random_state": 0}
    return TransferClassifier("precomputed", head, **(defaults | options))


@pytest.mark.slow
@pytest.mark.parametrize("head", [None, ReluHead(units=16, layers=1, dropout=0.0)])
def test_a_hopeless_training_says_so_with_its_numbers(head):
    X, y = rows(200)
    model = net(head, class_weight=None, validation_fraction=0.0)
    with pytest.warns(UnlearnedWarning) as caught:
        model.fit(X, y)
    (warning,) = of_ours(caught)
    assert warning.filename == __file__
    found = model.predict(X)
    kappa = cohen_kappa_score(y, found, labels=range(5), weights="quadratic")
    right, constant = np.mean(found == y), np.bincount(y).max() / 200
    text = str(warning.message)
    assert text.startswith(f"The training of {model.head!r} ended no better than a constant")
    assert f"of 200 images that it was trained on it grades {right:.0%} right" in text
    assert f"always the most frequent grade is for {constant:.0%}" in text
    assert f"its kappa is {kappa:.2f}, where a constant has 0 and chance up to 0.14" in text
    assert text.endswith("Try more epochs than epochs=1, or a higher learning_rate= (1e-09 now).")


@pytest.mark.slow
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_what_has_learned_a_little_does_not(class_weight):
    X, y = rows(200, slope=0.6)
    model = net(class_weight=class_weight, epochs=15, learning_rate=1e-2)
    model.fit(X, y)  # warnings are errors
    kappa = cohen_kappa_score(y, model.predict(X), labels=range(5), weights="quadratic")
    assert 0.15 < kappa < 0.95, "or the test says nothing"


@pytest.mark.slow
def test_the_inner_fits_of_a_regressor_do_not():
    X, y = rows(120)
    model = net(ReluHead(units=4, layers=1), validation_fraction=0.0)
    with pytest.warns(UnlearnedWarning) as caught:
        model.fit(X, y)
    assert len(of_ours(caught)) == 1, "three more networks were trained for the residuals"


class Told:
    """A trained head that gives the outputs it was told."""

    def __init__(self, outputs):
        self._outputs = np.asarray(outputs, dtype=float)

    def outputs(self, source):
        return self._outputs[source.batch(np.arange(len(source)), None)[0][:, 0].astype(int)]


def samples(y, weight=None, n_views=0, n_grades=5):
    n = len(y)
    numbers = np.repeat(np.arange(n), n_views + 1).astype(np.float32)[:, None]
    if n_views:
        numbers[np.arange(len(numbers)) % (n_views + 1) != 0] = 0
    grades = Grades(np.arange(n_grades), np.unique(y), np.asarray(y))
    return Samples(ArraySource(numbers), grades, weight, weight, None, None, None, n_views, 0)


def told(outputs, y, images=None, training=None, trains_backbone=False, **options):
    images = np.arange(len(y)) if images is None else images
    training = Training(0.01) if training is None else training
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        given = samples(y, **options)
        tell_if_unlearned("it", Told(outputs), given, images, training,
                          trains_backbone=trains_backbone)  # fmt: skip
    assert all(one.category is UnlearnedWarning for one in caught)
    return str(caught[0].message) if caught else ""


Y = np.repeat(np.arange(5), 40)


def test_which_it_is_told_of():
    rng = np.random.default_rng(0)
    assert told(np.full(200, 2.0), Y)
    assert told(np.eye(5)[np.full(200, 3)], Y)
    assert told(rng.permutation(Y), Y)
    assert not told(Y, Y)
    assert told(4 - Y, Y), "turned round, with only the middle right"
    assert told(np.full(200, np.float64(-7)), Y), "clipped to the scale"
    little = np.where(rng.random(200) < 0.3, Y, rng.permutation(Y))
    assert not told(little, Y)
    assert not told(np.full(99, 2.0), Y[:99]), "too few to say"
    assert told(np.full(100, 2.0), Y[:100])


def test_one_kind_of_use_is_enough():
    y = np.repeat([0, 1], [180, 20])
    majority = np.zeros(200)
    assert told(majority, y, n_grades=2)
    found = majority.copy()
    found[-1] = 1  # right more often than the majority, by one of 200: no more than chance
    assert told(found, y, n_grades=2)
    found[90:] = 1  # right less often, but ordered
    assert not told(found, y, n_grades=2)
    y = np.repeat([0, 1, 2], [50, 100, 50])
    found = np.r_[np.repeat([0, 2], 25), np.ones(100), np.repeat([0, 2], 25)]
    assert cohen_kappa_score(y, found, weights="quadratic") == pytest.approx(0)
    assert not told(found, y, n_grades=3), "three of four are right, where the majority is half"


def test_images_without_weight_do_not_count():
    weight = np.r_[np.ones(150), np.zeros(50)]
    outputs = np.where(weight > 0, 2.0, Y)
    assert "of 150 images" in told(outputs, Y, weight=weight)
    assert not told(outputs, Y, weight=np.r_[np.ones(99), np.zeros(101)])


def test_of_many_images_some_are_drawn_and_of_views_the_image_itself():
    y = np.repeat(np.arange(5), 400)
    assert "of 255 images" in told(np.full(2000, 2.0), y)  # 51 of each grade
    assert told(np.full(2000, 2.0), y) == told(np.full(2000, 2.0), y)
    assert not told(Y, Y, n_views=2)


@pytest.mark.parametrize("n_rare", [1, 5, 50])
def test_a_rare_grade_is_seen_where_some_are_drawn(n_rare):
    y = np.r_[np.zeros(2000, int), np.ones(n_rare, int)]
    assert not told(y.astype(float), y)


def test_what_to_try():
    bad = np.full(200, 2.0)
    text = told(bad, Y, trains_backbone=True)
    assert text.endswith("(0.01 now), or let the head learn first (warmup_epochs=).")
    warmed = Training(0.01, head_first=HeadFirst(2, 0.1))
    assert "head learn first" not in told(bad, Y, training=warmed, trains_backbone=True)
    assert "now)" not in told(bad, Y, training=Training(None))


@pytest.mark.slow
def test_a_backbone_that_was_trained_too_little_says_so(tmp_path):
    data = make_fundus(120, 32, 0, out_dir=tmp_path)
    model = TransferClassifier(
        "tiny", SoftmaxHead(units=8, layers=1), weights="fixed", freeze=5, epochs=1,
        learning_rate=1e-9, cache=False, random_state=0,
    )  # fmt: skip
    with pytest.warns(UnlearnedWarning, match=r"let the head learn first \(warmup_epochs=\)"):
        model.fit(data.paths, data.grades)


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_line_tells_the_first_and_counts_the_rest(tmp_path):
    make_fundus(210, 32, 0, out_dir=tmp_path / "data")
    options = ["--backbone", "tiny", "--weights", "fixed", "--image-size", "32", "--folds", "3"]
    options += ["--recipe", "fast", "--epochs", "1", "--learning-rate", "1e-9"]
    options += ["--out", str(tmp_path / "run"), "--no-audit", "--no-maps", "--dpi", "30"]
    result = CliRunner().invoke(app, ["train", str(tmp_path / "data"), *options])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if "no better than" in line]
    assert len(lines) == 2
    assert lines[0].startswith("Warning: The training of SoftmaxHead() ended no better than")
    assert "Try more epochs than --epochs 1, or a higher --learning-rate (1e-09 now)." in lines[0]
    assert lines[1].endswith("3 trainings of this command ended no better than a constant.")


def test_one_such_training_is_not_counted(capsys):
    with one_line_warnings({"--epochs"}):
        warn_caller(Message("Try epochs=3.", Mention("epochs", 3)), UnlearnedWarning)
    assert capsys.readouterr().err == "Warning: Try --epochs 3.\n"


def test_severities_that_no_cutpoint_helps_are_told():
    rng = np.random.default_rng(3)
    y = np.arange(60) % 3
    X = -y[:, np.newaxis] + rng.normal(0, 0.1, (60, 1))

    class Backwards(ClassifierMixin, BaseEstimator):
        """Severities that fall as grades rise."""

        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict_severity(self, X):
            return np.asarray(X)[:, 0]

        def predict(self, X):
            return self.classes_[np.zeros(len(X), int)]

    with pytest.warns(UnlearnedWarning, match="all 60 images have grade [0-2]. Give it more"):
        TunedCutpointClassifierCV(Backwards(), cv=3, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TunedCutpointClassifierCV(Backwards(), cv=3, random_state=0).fit(-X, y)
