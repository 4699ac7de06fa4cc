"""Fitted models as one Keras graph: the same predictions, and refusals by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

from fundus import (
    CoralHead,
    CornHead,
    CumulativeCalibratedClassifierCV,
    FeatureExtractor,
    FixedCutpointClassifier,
    FoldEnsemble,
    OrdinalConformalClassifier,
    ReluHead,
    SecondStageClassifier,
    SoftmaxHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    make_grader,
)
from fundus.backbones import network
from fundus.exceptions import ExportError
from fundus.frozen.normaliser import Normaliser, Photometric
from fundus.frozen.sources import ArraySource
from fundus.grades.severity import (
    normalised,
)
from fundus.hookspecs import HeadSpec, PreprocessorSpec
from fundus.images import ImageRecipe
from fundus.testing.checks import registered
from fundus.testing.head import HeadCase, check_traced_head
from fundus.testing.preprocessor import PREPROCESSOR_CHECKS, PreprocessorCase
from fundus.testing.probes import probe_features
from fundus.tracing import estimators
from fundus.tracing.heads import traced_head
from fundus.tracing.mixin import trace_model
from fundus.tracing.pictures import normalised_pictures
from fundus.training.fitted import FittedEstimator

CLOSE = 1e-4
BASE = {"weights": "fixed", "crop": None, "cache": False, "random_state": 0}


def run(function, *arrays):
    """Values of a function of tensors, as a graph gives them."""
    inputs = [keras.Input(a.shape[1:], dtype=str(a.dtype)) for a in arrays]
    found = keras.Model(inputs, function(*inputs))(list(arrays), training=False)
    return np.asarray(found)


@pytest.fixture(scope="module")
def pictures():
    """40 pictures of five grades, each lighter with its grade, with a black border."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(5), 8)
    X = rng.integers(0, 90, (40, 32, 32, 3)) + 30 * y[:, None, None, None]
    X[:, :3] = X[:, -3:] = X[:, :, :3] = X[:, :, -3:] = 0
    return X.astype(np.uint8), y


def compare(model, X):
    """Compare a model with its graph on pictures; return the graph's outputs."""
    found = {name: np.asarray(v) for name, v in model.to_keras()(X, training=False).items()}
    if model.gives_proba():
        assert np.abs(found["probabilities"] - model.predict_proba(X)).max() < CLOSE
    else:
        assert "probabilities" not in found
    assert np.abs(found["severity"] - model.predict_severity(X)).max() < CLOSE
    assert (np.asarray(model.grades_)[found["grade"]] == model.predict(X)).all()
    return found


SCALES = ["none", "tf", "scale", "torch", "caffe", "lite"]
STEPS = [("green", ()), ("grey_world", ()), ("image_mean", ()), ("corpus_mean", (70.2, 40.0, 9.5))]


@pytest.mark.parametrize("scale", SCALES)
def test_scales_are_the_same(scale, pictures):
    normaliser = Normaliser(scale)
    found = run(lambda x: normalised_pictures(normaliser, x), pictures[0])
    expected = normaliser.apply(pictures[0])
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("name", "mean"), STEPS)
def test_photometric_steps_are_the_same(name, mean, pictures):
    step = Photometric(name, (("mean", mean),) if mean else ())
    found = run(lambda x: normalised_pictures(Normaliser("none", (), step), x), pictures[0])
    expected = step.apply(pictures[0])
    # a mean in single precision may round a value in the middle the other way
    assert (found != expected).mean() < 1e-4
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("name", ["clahe", "ben_graham"])
def test_steps_of_opencv_are_refused_by_name(name):
    picture = keras.Input((8, 8, 3), dtype="uint8")
    with pytest.raises(ExportError, match=f"photometric step '{name}'.*OpenCV.*grey_world"):
        normalised_pictures(Normaliser("none", (), Photometric(name)), picture)
    with pytest.raises(ExportError, match=r"scale '<?odd.*no 'traced' in its record"):
        normalised_pictures(Normaliser(odd), picture)


def odd(images):
    return images.astype(np.float32)


HEADS = [
    *("ridge", "logistic", "svm", "ordinal_logistic", "ordinal_ridge"),
    *(kind(units=4, layers=1) for kind in (ReluHead, CornHead)),
]


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_heads(head, blobs):
    X, y = blobs
    model = TransferClassifier("precomputed", head, class_weight=None, random_state=0)
    if not isinstance(head, str):
        model.set_params(epochs=1, validation_fraction=0)
    fitted = model.fit(X, y).head_
    found = run(lambda x: traced_head(fitted, [x], np.arange(3)), X)
    expected = fitted.outputs(ArraySource(X))
    assert found.shape == expected.shape
    found = normalised(found.astype(float)) if found.ndim == 2 else found
    assert np.abs(found - expected).max() < CLOSE


@pytest.mark.slow
def test_networks_of_folds_are_each_ones_own(pictures):
    X, y = pictures
    head = CoralHead(units=4, layers=1)
    model = TransferClassifier("tiny", head, epochs=1, validation_fraction=0, **BASE)
    compare(FoldEnsemble(model, cv=2, random_state=0).fit(X, y), X)


@pytest.mark.slow
def test_trained_layers_are_in_the_graph(pictures):
    X, y = pictures
    model = TransferClassifier(
        "tiny", "softmax", freeze=0.5, epochs=1, validation_fraction=0, learning_rate=0.1, **BASE
    )
    compare(model.fit(X, y), X)


def counted_passes(monkeypatch):
    """Count how often a trace runs frozen layers."""
    from fundus.tracing import trace

    runs = []
    plain = network.load_frozen
    monkeypatch.setattr(trace, "load_frozen", lambda net: runs.append(net) or plain(net))
    return runs


@pytest.fixture(scope="module")
def grader(pictures):
    X, y = pictures
    model = make_grader(random_state=0)
    own = {name: BASE[name] for name in ("weights", "crop", "cache")}
    model.set_params(cv=2, **{f"estimator__{name}": value for name, value in own.items()})
    model.set_params(estimator__backbone="tiny", estimator__image_size=32)
    model.set_params(estimator__augment_views=1, estimator__stages=None)
    return FoldEnsemble(model, cv=2, random_state=0).fit(X, y)


def test_the_recommended_grader_runs_its_network_once(grader, pictures, monkeypatch):
    runs = counted_passes(monkeypatch)
    found = compare(grader, pictures[0])
    assert len(runs) == 1
    assert set(found) == {"probabilities", "severity", "grade"}
    compare(grader.estimators_[0], pictures[0])


def test_a_graph_is_read_by_keras_alone(grader, pictures, tmp_path):
    graph = grader.to_keras()
    graph.save(tmp_path / "grader.keras")
    again = keras.models.load_model(tmp_path / "grader.keras")
    expected = graph.predict_on_batch(pictures[0])
    found = again.predict_on_batch(pictures[0])
    assert np.array_equal(found["severity"], expected["severity"])
    layers = list(again._flatten_layers(include_self=False))
    assert len(layers) > len(again.layers)
    assert {type(layer).__module__.split(".")[0] for layer in layers} == {"keras"}
    assert graph.input.dtype == "uint8"


def ridge(**more):
    return TransferClassifier("tiny", "ridge", **{**BASE, **more})


@pytest.mark.filterwarnings("ignore:Quadratic weighted kappa is undefined")
@pytest.mark.parametrize("voting", ["hard", "severity", "soft"])
def test_votes_of_folds_that_lack_a_grade(voting, pictures):
    X, y = pictures
    rows = np.arange(40)
    folds = [(rows[y != 2], rows[y == 2]), (rows[(y == 2) | (rows % 2 == 0)], rows[y != 2][1::2])]
    model = FoldEnsemble(ridge(), cv=folds, voting=voting).fit(X, y)
    compare(model, X)


def test_what_is_put_around_severities(pictures):
    X, y = pictures
    logistic = TransferClassifier("tiny", "logistic", **BASE).fit(X, y)
    fitted = ridge().fit(X, y)
    for method, inner in (("sigmoid", logistic), ("isotonic", fitted)):
        model = CumulativeCalibratedClassifierCV(FrozenEstimator(inner), method=method)
        compare(model.fit(X, y), X)
    cut = TunedCutpointClassifierCV(FrozenEstimator(fitted)).fit(X, y)
    compare(cut, X)
    compare(FixedCutpointClassifier(FrozenEstimator(logistic), cutpoints=(1, 1, 2, 3)).fit(X, y), X)
    sets = OrdinalConformalClassifier(FrozenEstimator(fitted), random_state=0).fit(X, y)
    compare(sets, X)


def test_a_pipeline_of_features(pictures):
    X, y = pictures
    extractor = FeatureExtractor("tiny", weights="fixed", crop=None, cache=False)
    pipe = make_pipeline(extractor, MinMaxScaler(), RidgeCV()).fit(X, y)
    model = FixedCutpointClassifier(FrozenEstimator(pipe)).fit(X, y)
    found = model.to_keras()(X, training=False)
    assert np.abs(np.asarray(found["severity"]) - pipe.predict(X)).max() < CLOSE
    assert (np.asarray(found["grade"]) == model.predict(X)).all()


class Cautious(LogisticRegression):
    """A classifier that decides by a rule of its own."""

    def predict(self, X):
        return self.classes_[(self.predict_proba(X).cumsum(axis=1) >= 0.9).argmax(axis=1)]

    def traced(self, features):
        return keras.ops.softmax(features.dense(self.coef_.T, self.intercept_))


def test_a_pipeline_with_a_rule_of_its_own_is_refused(pictures):
    X, y = pictures
    extractor = FeatureExtractor("tiny", weights="fixed", crop=None, cache=False)
    trace_model(make_pipeline(extractor, LogisticRegression()).fit(X, y))
    with pytest.raises(ExportError, match="Cautious.*another class than its most probable"):
        trace_model(make_pipeline(extractor, Cautious()).fit(X, y))


def test_a_pipeline_that_samples(pictures):
    imblearn = pytest.importorskip("imblearn.pipeline")
    from imblearn.over_sampling import RandomOverSampler

    X, y = pictures
    steps = [RandomOverSampler(random_state=0), StandardScaler(), LogisticRegression()]
    extractor = FeatureExtractor("tiny", weights="fixed", crop=None, cache=False)
    model = imblearn.make_pipeline(extractor, *steps).fit(X, np.minimum(y, 2))
    found = trace_model(model)[0](X, training=False)
    assert np.abs(np.asarray(found["probabilities"]) - model.predict_proba(X)).max() < CLOSE


ESTIMATORS = [
    make_pipeline(StandardScaler(), SVC(kernel="linear")),
    make_pipeline(MinMaxScaler(), LinearSVC()),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=["SVC", "LinearSVC"])
def test_classifiers_without_probabilities_name_one_grade(estimator, blobs):
    X, y = blobs
    fitted = FittedEstimator(clone(estimator).fit(X, y), 3, is_regressor=False)
    found = run(lambda x: traced_head(fitted, [x], np.arange(3)), X)
    assert (found.argmax(axis=1) == fitted.estimator.predict(X)).all()
    assert (found.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        (RandomForestClassifier(2, random_state=0), "RandomForestClassifier.*linear head"),
        (GaussianNB(), "GaussianNB.*traces"),
        (SVC(), "kernel 'rbf' compares photographs.*kernel='linear'"),
        (SVC(kernel="linear", probability=True), "CalibratedClassifierCV"),
    ],
)
@pytest.mark.filterwarnings("ignore:The `probability`", "ignore:.*probability.*deprecated")
def test_other_estimators_are_refused_by_name(estimator, why, blobs):
    fitted = FittedEstimator(clone(estimator).fit(*blobs), 3, is_regressor=False)
    with pytest.raises(ExportError, match=why):
        traced_head(fitted, [keras.Input((12,))], np.arange(3))


def test_a_counterpart_that_is_another_is_found(blobs, monkeypatch):
    fitted = FittedEstimator(GaussianNB().fit(*blobs), 3, is_regressor=False)
    monkeypatch.setitem(
        estimators._registered,
        GaussianNB,
        lambda est, features: features.dense(np.eye(12, 3), [0] * 3),
    )
    with pytest.raises(ExportError, match="counterpart of GaussianNB.*differ by"):
        traced_head(fitted, [keras.Input((12,))], np.arange(3))


class Doubling(Ridge):
    """A regressor of another package that says itself what it is."""

    def predict(self, X):
        return 2 * super().predict(X)

    def traced(self, features):
        return 2.0 * features.dense(self.coef_[:, None], [self.intercept_])[:, 0]


def test_an_estimator_may_say_itself_what_it_is(blobs):
    X, y = blobs
    model = make_pipeline(StandardScaler(), Doubling()).fit(X, y)
    found = run(lambda x: traced_head(FittedEstimator(model, 3, True), [x], np.arange(3)), X)
    assert np.abs(found - model.predict(X)).max() < CLOSE


class Sharper(SoftmaxHead):
    """A head whose outputs mean something else than those of its base."""

    def decode(self, outputs, n_grades):
        return super().decode(outputs, n_grades) ** 2


class Upside(FixedCutpointClassifier):
    """A model that predicts in its own way."""

    def votes_of(self, reading):
        votes = super().votes_of(reading)
        return votes._replace(severity=-votes.severity)


def test_models_that_cannot_be_expressed_are_refused_by_name(pictures, blobs):
    X, y = pictures
    fitted = ridge().fit(X, y)
    odd_one = Upside(FrozenEstimator(fitted)).fit(X, y)
    with pytest.raises(ExportError, match="Upside cannot be exported.*'traced_votes'"):
        odd_one.to_keras()
    second = SecondStageClassifier(ridge(), cv=2, random_state=0)
    with pytest.raises(ExportError, match="SecondStageClassifier .*Export the model inside"):
        second.fit(X, y).to_keras()
    head = Sharper(units=2, layers=1)
    sharper = TransferClassifier("tiny", head, epochs=1, validation_fraction=0, **BASE)
    with pytest.raises(ExportError, match="Sharper.*'decode_ops'"):
        sharper.fit(X, y).to_keras()
    features = TransferClassifier("precomputed", "ridge").fit(*blobs)
    with pytest.raises(ExportError, match="takes features, and no photographs"):
        features.to_keras()
    with pytest.raises(ExportError, match="Pipelines that begin with FeatureExtractor"):
        trace_model(make_pipeline(StandardScaler(), Ridge()).fit(*blobs))


def test_models_that_look_at_different_pictures_are_refused(pictures):
    X, y = pictures
    models = [ridge().fit(X, y), ridge(image_size=16).fit(X, y)]
    results = {"estimator": models, "indices": {"train": [np.arange(20), np.arange(20, 40)],
               "test": [np.arange(20, 40), np.arange(20)]}}  # fmt: skip
    model = FoldEnsemble.from_cv_results(results, X, y)
    with pytest.raises(ExportError, match="look at different pictures.*one by one"):
        model.to_keras()


def test_another_precision_is_refused(pictures):
    X, y = pictures
    model = ridge().fit(X, y)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(ExportError, match="dtype policy 'mixed_bfloat16'"):
            model.to_keras()
    finally:
        keras.config.set_dtype_policy("float32")
    assert trace_model(model)[1].recipe == ImageRecipe(32, None)


def third(images):
    return images.astype(np.float32) / 3


def third_in_keras(images):
    return keras.ops.cast(images, "float32") / 3.0


def mean_of_batch(images):
    values = third_in_keras(images)
    return values + 0.0 * keras.ops.mean(values) + 1.0


def test_the_kit_compares_a_preprocessor_with_its_counterpart(pictures):
    with registered("preprocessor", PreprocessorSpec, spec_of(third_in_keras)) as entry:
        PREPROCESSOR_CHECKS["traced"](PreprocessorCase(entry))
        step = Normaliser(entry.qualified_name)
        found = run(lambda x: normalised_pictures(step, x), pictures[0])
        assert np.abs(found - third(pictures[0])).max() < 1e-4
    with (
        registered("preprocessor", PreprocessorSpec, spec_of(mean_of_batch)) as entry,
        pytest.raises(AssertionError, match="must give what apply gives. They differ by up to 1"),
    ):
        PREPROCESSOR_CHECKS["traced"](PreprocessorCase(entry))


def spec_of(traced):
    return PreprocessorSpec(name="third", apply=third, description="A third.", traced=traced)


class Blunter(SoftmaxHead):
    """A head whose counterpart gives something else."""

    def decode_ops(self, outputs, n_grades):
        return outputs + 0.1


def test_the_kit_compares_a_head_with_its_counterpart():
    spec = HeadSpec(name="blunter", make=Blunter, description="Less sure.")
    with registered("head", HeadSpec, spec) as entry:
        case = HeadCase(entry, {"units": 4, "layers": 1})
        X, y = probe_features()
        fitted = case.classifier(1).fit(X, y)
        with pytest.raises(AssertionError, match="must give what the head gives, within 0.0001"):
            check_traced_head(case, fitted, X)
