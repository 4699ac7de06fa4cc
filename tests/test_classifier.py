"""TransferClassifier on images: what is trained, what is frozen, what is computed once."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import (
    StratifiedGroupKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fundus import (
    Augmentation,
    FeatureExtractor,
    SoftmaxHead,
    SVMHead,
    TransferClassifier,
    kappa_scorer,
)
from fundus.backbones.network import load_frozen
from fundus.exceptions import (
    DataError,
    DataWarning,
    ImageReadError,
    InvalidGradeError,
    InvalidParameterError,
    UnknownNameError,
    WeightsNotAvailableError,
)
from fundus.frozen.work import work_done
from fundus.images import ImageRecipe, load_image

SMALL_HEAD = SoftmaxHead(units=8, layers=1, dropout=0.0)


def tiny(head="logistic", **options):
    return TransferClassifier("tiny", head, **({"weights": "fixed", "random_state": 0} | options))


# --- forms of X -----------------------------------------------------------------------------------


def test_paths_frames_and_arrays_are_one_thing(photographs):
    recipe = ImageRecipe(32)
    arrays = np.stack([load_image(path, recipe) for path in photographs.paths])
    forms = {
        "list": list(photographs.paths),
        "object array": photographs.paths,
        "series": pd.Series(photographs.paths),
        "frame": photographs.frame,
    }
    y = photographs.grades
    expected = tiny().fit(forms["list"], y).predict_proba(forms["list"])
    for X in forms.values():
        assert np.allclose(tiny().fit(X, y).predict_proba(X), expected)
    # the arrays are squares already, so there is nothing left to crop
    by_array = tiny(crop=None).fit(arrays, y)
    assert np.allclose(by_array.predict_proba(arrays), expected)
    assert np.allclose(tiny().fit(photographs.paths, y).predict_proba(photographs.paths[:1]),
                       expected[:1], atol=1e-5)  # fmt: skip


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("one.jpg", "single path 'one.jpg'"),
        ([], "0 rows"),
        ([1, 2], "Got 1 in row 0"),
        (["a.jpg", None], "Got None in row 1"),
        (pd.DataFrame({"file": ["a"], "eye": ["left"]}), r"columns \['file', 'eye'\]"),
        (np.zeros((2, 8, 8, 3), np.float32), "float32"),
        (np.zeros((8, 8, 3), np.uint8), r"X\[np.newaxis\]"),
        (np.zeros((2, 8, 8), np.uint8), r"shape \(2, 8, 8\)"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8), np.uint8)], r"\(9, 8\) in row 1"),
        (pd.DataFrame({"path": ["a", "b"], "patient": [1, None]}), "'patient' column.*row 1"),
        (7, "Got int instead"),
    ],
)
def test_other_forms_are_refused(X, message):
    with pytest.raises(DataError, match=message):
        tiny().fit(X, [0, 1])


# --- grades ---------------------------------------------------------------------------------------


def test_string_grades_and_other_scales(photographs):
    names = np.array(["none", "mild", "moderate", "severe", "proliferative"])
    y = names[photographs.grades]
    model = tiny(grades=list(names)).fit(photographs.paths, y)
    assert model.classes_.tolist() == sorted(names)
    assert model.grades_.tolist() == list(names)
    numeric = tiny(grades=5).fit(photographs.paths, photographs.grades)
    assert np.allclose(
        model.predict_severity(photographs.paths), numeric.predict_severity(photographs.paths)
    )
    assert np.array_equal(
        names[numeric.predict(photographs.paths)], model.predict(photographs.paths)
    )
    two = tiny().fit(photographs.paths, photographs.grades >= 2)
    assert two.classes_.tolist() == [False, True]


@pytest.mark.parametrize("head", ["logistic", "ridge"])
def test_a_named_scale_that_is_not_alphabetical(photographs, head):
    names = np.array(["none", "mild", "moderate", "severe", "proliferative"])
    model = tiny(head, grades=list(names)).fit(photographs.paths, names[photographs.grades])
    proba = model.predict_proba(photographs.paths)
    assert np.allclose(proba.sum(axis=1), 1)
    assert np.array_equal(model.classes_[proba.argmax(axis=1)], model.predict(photographs.paths))


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([0, 1, 5], {"grades": 5}, r"out of \[0, 1, 2, 3, 4\]. Got 5 in row 2"),
        ([0, np.nan, np.nan], {}, r"Got nan .* row 1 \('.*'\); 1 more"),
        ([0, None, 1], {}, "row 1"),
        ([2, 2, 2], {}, "Got 1 class only: .*2"),
        ([0, 1], {}, "3 rows of X and 2 grades"),
        (None, {}, "requires y to be passed"),
    ],
)
def test_bad_grades_are_named_before_any_work(photographs, y, options, message):
    before = work_done.copy()
    with pytest.raises(DataError, match=message):
        tiny(**options).fit(photographs.paths[:3], y)
    assert work_done == before


def test_a_missing_grade_keeps_the_scale(photographs):
    kept = photographs.grades != 3
    model = tiny(grades=5).fit(photographs.paths[kept], photographs.grades[kept])
    assert model.classes_.tolist() == [0, 1, 2, 4]
    proba = model.predict_proba(photographs.paths)
    severity = proba @ [0, 1, 2, 4]
    assert model.predict_severity(photographs.paths) == pytest.approx(severity)


# --- bad files ------------------------------------------------------------------------------------


def test_unreadable_files_are_named_and_counted(photographs, tmp_path):
    paths = [str(p) for p in photographs.paths[:6]]
    whole = Path(paths[0]).read_bytes()
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    bad = [str(tmp_path / name) for name in ("empty.jpg", "short.jpg", "text.png", "gone.jpg")]
    X = paths[:2] + bad + paths[2:]
    y = [0, 1] * 5
    before = work_done["forward_passes"]
    with pytest.raises(ImageReadError, match=r"Row 2: .*empty\.jpg.* 3 more rows"):
        tiny().fit(X, y)
    assert work_done["forward_passes"] == before
    model = tiny().fit(paths, [0, 1] * 3)
    with pytest.raises(ImageReadError, match=r"Row 1: .*short\.jpg"):
        model.predict([paths[0], bad[1]])


def test_a_file_given_twice(photographs):
    X = [*photographs.paths[:4], photographs.paths[1]]
    with pytest.raises(DataError, match="Rows 1 and 4 are the same file.*duplicates='allow'"):
        tiny().fit(X, [0, 1, 0, 1, 1])
    with pytest.raises(DataError, match="different grades"):
        tiny(duplicates="allow").fit(X, [0, 1, 0, 1, 0])
    assert tiny(duplicates="allow").fit(X, [0, 1, 0, 1, 1]).predict(X).shape == (5,)


def test_oversampling_with_imbalanced_learn(photographs):
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline as make_imbalanced
    from imblearn.under_sampling import RandomUnderSampler

    for sampler in (RandomOverSampler(random_state=0), RandomUnderSampler(random_state=0)):
        X, y = sampler.fit_resample(photographs.frame[["path"]], photographs.grades)
        counts = np.bincount(y)
        assert len(set(counts)) == 1
        assert tiny(duplicates="allow").fit(X, y).predict(X).shape == (len(y),)
    features = FeatureExtractor("tiny", weights="fixed")
    pipeline = make_imbalanced(features, RandomOverSampler(random_state=0), LogisticRegression())
    pipeline.fit(photographs.paths, photographs.grades)
    assert pipeline.predict(photographs.paths).shape == photographs.grades.shape


def test_unicode_paths(photographs, tmp_path):
    folder = tmp_path / "Фото 眼底 ö"
    folder.mkdir()
    X = []
    for k, path in enumerate(photographs.paths[:6]):
        (folder / f"auge_{k}_λ.jpeg").write_bytes(Path(path).read_bytes())
        X.append(folder / f"auge_{k}_λ.jpeg")
    assert tiny().fit(X, [0, 1] * 3).predict(X).shape == (6,)


# --- what is frozen and what is trained -----------------------------------------------------------


def prefix_weights(model):
    return [np.array(w) for w in model.frozen_.network.build().get_weights()]


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [0, 4, 0.5, "all"])
def test_exactly_the_unfrozen_layers_move(photographs, freeze):
    options = {"epochs": 2, "learning_rate": 0.05, "validation_fraction": 0.0}
    model = tiny(SMALL_HEAD, freeze=freeze, **options).fit(photographs.paths, photographs.grades)
    untrained = model.frozen_.network.build()
    n_frozen = {"all": len(untrained.layers), 0.5: round(len(untrained.layers) / 2)}.get(
        freeze, freeze
    )
    trained = {layer.name: layer for layer in model.model_.layers}
    moved = []
    for index, layer in enumerate(untrained.layers):
        if not layer.weights or layer.name not in trained:
            continue
        same = all(
            np.array_equal(a, b)
            for a, b in zip(layer.get_weights(), trained[layer.name].get_weights(), strict=True)
        )
        moved.append((index >= n_frozen, not same))
    assert all(trainable == changed for trainable, changed in moved)
    if freeze != "all":
        assert any(changed for _, changed in moved)
    else:
        assert not moved, "no layer of the backbone is in the trained network"
    assert model.predict_proba(photographs.paths).shape == (40, 5)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [4, 0.5])
def test_cached_activations_train_as_live_ones_do(photographs, freeze):
    options = {
        "freeze": freeze, "epochs": 2, "learning_rate": 0.01, "validation_fraction": 0.2,
    }  # fmt: skip
    y = photographs.grades
    cached = tiny(SMALL_HEAD, **options).fit(photographs.paths, y)
    live = tiny(SMALL_HEAD, cache=False, **options).fit(photographs.paths, y)
    assert cached.history_["loss"] == pytest.approx(live.history_["loss"], rel=1e-4)
    assert np.allclose(
        cached.predict_proba(photographs.paths), live.predict_proba(photographs.paths), atol=1e-4
    )


def test_learning_rate_auto_is_low_where_the_backbone_is_trained(photographs):
    model = tiny(SMALL_HEAD, freeze=4, epochs=1).fit(photographs.paths, photographs.grades)
    assert model.history_["learning_rate"] == [pytest.approx(1e-5)]


@pytest.mark.slow
def test_a_cut_that_freezes_everything_is_all(photographs):
    y = photographs.grades
    everything = tiny(SMALL_HEAD, freeze=1.0, epochs=2).fit(photographs.paths, y)
    assert everything.frozen_.network.freeze == "all"
    same = tiny(SMALL_HEAD, freeze="all", epochs=2).fit(photographs.paths, y)
    assert np.array_equal(
        everything.predict_proba(photographs.paths), same.predict_proba(photographs.paths)
    )


@pytest.mark.parametrize("head", ["logistic", SVMHead(), RandomForestClassifier()])
def test_heads_that_cannot_train_a_backbone_say_so(photographs, head):
    with pytest.raises(InvalidParameterError, match="'freeze' parameter .* cannot train"):
        tiny(head, freeze=10).fit(photographs.paths, photographs.grades)
    with pytest.raises(InvalidParameterError, match="'augment' parameter"):
        tiny(head, augment=True).fit(photographs.paths, photographs.grades)


def test_freeze_out_of_range_names_the_layers(photographs):
    with pytest.raises(InvalidParameterError, match="'freeze' parameter .* Got 999"):
        tiny(SMALL_HEAD, freeze=999).fit(photographs.paths, photographs.grades)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", 4])
def test_augmentation_is_for_training_only_and_seeded(photographs, freeze):
    options = {"freeze": freeze, "epochs": 2, "learning_rate": 0.01, "validation_fraction": 0.2}
    fits = [
        tiny(SMALL_HEAD, augment=augment, **options).fit(photographs.paths, photographs.grades)
        for augment in (True, Augmentation(), Augmentation(rotation=5.0), None)
    ]
    losses = [model.history_["loss"] for model in fits]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2] != losses[3]
    first, again = (fits[0].predict_proba(photographs.paths) for _ in range(2))
    assert np.array_equal(first, again)


def test_random_weights_follow_the_seed(photographs):
    X, y = photographs.paths, photographs.grades
    one, same, other = (
        tiny(weights=None, random_state=s).fit(X, y).predict_proba(X) for s in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    free = tiny(weights=None, random_state=None).fit(X, y)
    assert np.array_equal(free.predict_proba(X), free.predict_proba(X))


# --- heads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [RandomForestClassifier(20), make_pipeline(StandardScaler(), LogisticRegression()), Ridge()],
)
def test_any_scikit_learn_estimator_is_a_head(photographs, head):
    model = tiny(head).fit(photographs.paths, photographs.grades)
    proba = model.predict_proba(photographs.paths)
    assert np.allclose(proba.sum(axis=1), 1)
    assert np.array_equal(model.classes_[proba.argmax(axis=1)], model.predict(photographs.paths))
    again = tiny(head).fit(photographs.paths, photographs.grades)
    assert np.array_equal(again.predict_proba(photographs.paths), proba)
    assert not hasattr(head, "classes_"), "the head given must stay unfitted"


def test_a_head_without_probabilities(photographs):
    model = tiny(RidgeClassifier())
    assert not hasattr(model, "predict_proba")
    model.fit(photographs.paths, photographs.grades)
    assert not hasattr(model, "predict_proba")
    predicted = model.predict(photographs.paths)
    assert np.array_equal(model.predict_severity(photographs.paths), predicted)


def test_a_pipeline_with_the_extractor_is_the_same(photographs):
    X, y = photographs.paths, photographs.grades
    extractor = FeatureExtractor("tiny", weights="fixed")
    head = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced"))
    pipeline = make_pipeline(extractor, head).fit(X, y)
    assert np.allclose(tiny().fit(X, y).predict_proba(X), pipeline.predict_proba(X), atol=1e-6)


def test_classifier_severity_is_the_expected_grade(photographs):
    model = tiny("svm").fit(photographs.paths, photographs.grades)
    proba = model.predict_proba(photographs.paths)
    assert model.predict_severity(photographs.paths) == pytest.approx(proba @ np.arange(5))


def test_the_svm_head_needs_two_of_each_grade(photographs):
    with pytest.raises(DataError, match="'svm' head .* at least 2 training images"):
        tiny("svm").fit(photographs.paths[:5], [0, 0, 1, 1, 2])


def test_weights_for_a_head_that_takes_none(photographs):
    from sklearn.neighbors import KNeighborsClassifier

    with pytest.raises(InvalidParameterError, match="takes no weights"):
        tiny(KNeighborsClassifier()).fit(photographs.paths, photographs.grades)
    model = tiny(KNeighborsClassifier(), class_weight=None)
    assert model.fit(photographs.paths, photographs.grades).score(
        photographs.paths, photographs.grades
    )


# --- with scikit-learn ----------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_and_groups(photographs):
    cv = StratifiedGroupKFold(2)
    results = cross_validate(
        tiny(),
        photographs.frame,
        photographs.grades,
        groups=photographs.patients,
        cv=cv,
        scoring=kappa_scorer,
        n_jobs=2,
        return_estimator=True,
        return_indices=True,
    )
    assert np.isfinite(results["test_score"]).all()
    for train, test in zip(*results["indices"].values(), strict=True):
        assert not set(photographs.patients[train]) & set(photographs.patients[test])


def test_metadata_routing(photographs):
    import sklearn

    weight = np.where(photographs.grades > 1, 2.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = tiny().set_fit_request(sample_weight=True, groups=True)
        scorer = kappa_scorer.set_score_request(sample_weight=True)
        scores = cross_val_score(
            model,
            photographs.paths,
            photographs.grades,
            cv=StratifiedGroupKFold(2),
            scoring=scorer,
            params={"sample_weight": weight, "groups": photographs.patients},
        )
    assert np.isfinite(scores).all()


def test_inner_validation_keeps_patients_together(photographs, monkeypatch):
    import fundus.training.trainer as trainer

    seen = {}
    original = trainer.train_net

    def spy(tail, training, source, rows, positions, weights, held_out, **views):
        seen.update(rows=rows, held_out=held_out)
        return original(tail, training, source, rows, positions, weights, held_out, **views)

    monkeypatch.setattr(trainer, "train_net", spy)
    frame, y = photographs.frame, photographs.grades
    tiny(SMALL_HEAD, epochs=1, validation_fraction=0.3).fit(frame, y)
    patients = frame["patient"].to_numpy()
    assert not set(patients[seen["rows"]]) & set(patients[seen["held_out"]])
    assert len(seen["rows"]) + len(seen["held_out"]) == len(y)
    by_groups = tiny(SMALL_HEAD, epochs=1, validation_fraction=0.3)
    by_groups.fit(frame[["path"]], y, groups=patients)
    assert not set(patients[seen["rows"]]) & set(patients[seen["held_out"]])


def test_clone_pickle_and_repr(photographs):
    model = tiny("svm").fit(photographs.paths, photographs.grades)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(
        again.predict_proba(photographs.paths), model.predict_proba(photographs.paths)
    )
    assert clone(model).get_params() == model.get_params()
    assert "svm" in repr(model)
    with pytest.raises(NotFittedError):
        tiny().predict(photographs.paths)


def test_init_only_stores():
    model = TransferClassifier("no such backbone", 3, epochs=-1, cache=object())
    assert model.get_params()["epochs"] == -1


def test_unknown_names_suggest(photographs):
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet50'"):
        TransferClassifier("resnet5O").fit(photographs.paths, photographs.grades)
    with pytest.raises(UnknownNameError, match="Did you mean 'softmax'"):
        tiny("soft_max").fit(photographs.paths, photographs.grades)
    with pytest.raises(InvalidParameterError, match="'weights' parameter"):
        tiny(weights="imagenet").fit(photographs.paths, photographs.grades)


def test_a_download_that_cannot_be_had_says_what_works(photographs, monkeypatch, tmp_path):
    import keras

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("socket.create_connection", offline)
    monkeypatch.setattr(keras.utils, "get_file", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    model = TransferClassifier("mobilenet_v2", "logistic", image_size=32)
    with pytest.raises(WeightsNotAvailableError, match="efficientnet_lite0"):
        model.fit(photographs.paths, photographs.grades)


def test_one_image_predicts(photographs):
    model = tiny().fit(photographs.paths, photographs.grades)
    assert model.predict(photographs.paths[:1]).shape == (1,)
    assert model.predict_proba([photographs.paths[0]]).shape == (1, 5)


def test_invalid_grade_error_is_a_value_error():
    assert issubclass(InvalidGradeError, ValueError)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["vgg16", *(pytest.param(n, marks=pytest.mark.zoo) for n in ("resnet50", "inception_v3"))],
)
def test_the_chapters_freezing(photographs, name):
    """Ten initial layers stay as they are, their batch statistics too; the others move."""
    X, y = photographs.paths[:8], photographs.grades[:8] >= 2
    size = 75 if name == "inception_v3" else 32
    model = TransferClassifier(
        name, SMALL_HEAD, weights=None, freeze=10, image_size=size, random_state=0,
        epochs=1, learning_rate=0.01, validation_fraction=0.0, batch_size=4,
    ).fit(X, y)  # fmt: skip
    network = model.frozen_.network
    before, frozen = network.build(), load_frozen(network)
    # layers are paired by their order: Keras numbers some names by what was built before
    suffix = network.split().suffix
    n_suffix = len(suffix.weights)
    after = model.model_.get_weights()[:n_suffix]
    moved = [not np.array_equal(a, b) for a, b in zip(suffix.get_weights(), after, strict=True)]
    should = [layer.trainable for layer in suffix.layers for _ in layer.weights]
    assert moved == should
    assert any(moved)
    untouched = sum(len(layer.weights) for layer in before.layers[:10])
    in_suffix = sum(len(layer.weights) for layer in suffix.layers if not layer.trainable)
    assert len(frozen.weights) + in_suffix == untouched
    for now, then in zip(frozen.get_weights(), network.split().prefix.get_weights(), strict=True):
        assert np.array_equal(now, then)


def test_a_refit_leaves_nothing_of_the_last(photographs, blobs):
    model = tiny(SMALL_HEAD, epochs=1).fit(photographs.paths, photographs.grades)
    model.set_params(head="logistic", epochs=40).fit(photographs.paths, photographs.grades)
    assert not hasattr(model, "history_")
    model.set_params(backbone="precomputed").fit(*blobs)
    assert not hasattr(model, "frozen_")
    assert model.n_features_in_ == 12
    model.set_params(backbone="tiny").fit(photographs.paths, photographs.grades)
    assert not hasattr(model, "n_features_in_")


def test_routing_brings_groups_by_itself(photographs):
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            tiny(),
            photographs.paths,
            photographs.grades,
            cv=StratifiedGroupKFold(2),
            params={"groups": photographs.patients},
        )
    assert np.isfinite(scores).all()


@pytest.mark.slow
def test_wide_features_are_streamed(photographs):
    from fundus.frozen.sources import StoredSource

    model = tiny(SMALL_HEAD, pooling="flatten", epochs=1)
    model.fit(photographs.paths, photographs.grades)
    (source,) = model.read_images(photographs.paths).sources.values()
    assert isinstance(source, StoredSource)
    in_memory = tiny(SMALL_HEAD, pooling="flatten", epochs=1, cache=False)
    in_memory.fit(photographs.paths, photographs.grades)
    assert in_memory.history_["loss"] == pytest.approx(model.history_["loss"], rel=1e-4)


def test_probabilities_are_promised_truly(photographs):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    model = tiny(CalibratedClassifierCV(LinearSVC(), cv=2), class_weight=None)
    assert hasattr(model, "predict_proba")
    model.fit(photographs.paths, photographs.grades)
    assert model.predict_proba(photographs.paths).shape == (40, 5)


def test_nothing_to_hold_out_is_told(photographs):
    model = tiny(SMALL_HEAD, epochs=1, validation_fraction=0.1)
    with pytest.warns(DataWarning, match="watches the training loss"):
        model.fit(photographs.paths[:2], [0, 1])


def test_an_off_scale_grade_and_a_detour_name_the_file(photographs, tmp_path):
    with pytest.raises(InvalidGradeError, match=r"Got 7 in row 1 \('.*jpeg'\)"):
        tiny(grades=5).fit(photographs.paths[:2], [0, 7])
    path = Path(photographs.paths[0])
    detour = str(path.parent / ".." / path.parent.name / path.name)
    with pytest.raises(DataError, match="Rows 0 and 1 are the same file"):
        tiny().fit([str(path), detour], [0, 1])


def test_a_shared_gpu_is_told(monkeypatch):
    import multiprocessing

    import tensorflow as tf

    from fundus.exceptions import FundusWarning
    from fundus.runtime import tensorflow as runtime

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: None)
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    runtime._grow_gpu_memory.cache_clear()
    with pytest.warns(FundusWarning, match="n_jobs=1 is faster"):
        runtime._grow_gpu_memory()
    runtime._grow_gpu_memory.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [("augment", True, "None"), ("power", 0.5, "None"), ("freeze", 3, "'all'")],
)
def test_features_are_taken_as_they_are(blobs, name, value, must):
    model = TransferClassifier("precomputed", "logistic", **{name: value})
    with pytest.raises(InvalidParameterError) as caught:
        model.fit(*blobs)
    assert caught.value.parameter == name
    assert str(caught.value) == (
        f"The {name!r} parameter of TransferClassifier must be {must} for backbone='precomputed', "
        f"which takes features as they are. Got {value!r} instead."
    )
