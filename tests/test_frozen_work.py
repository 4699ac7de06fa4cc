"""Frozen work is done once, and no entry of the store is served for another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from fundus import (
    FeatureExtractor,
    LogisticHead,
    SoftmaxHead,
    SVMHead,
    TransferClassifier,
    kappa_scorer,
)
from fundus.exceptions import InvalidParameterError, StoreWarning
from fundus.frozen.work import work_done
from fundus.images import ImageRecipe, load_image

SMALL_HEAD = SoftmaxHead(units=8, layers=1, dropout=0.0)


def tiny(head="logistic", **options):
    return TransferClassifier("tiny", head, **({"weights": "fixed", "random_state": 0} | options))


def test_a_grid_search_runs_the_backbone_once_per_image(photographs, tmp_path):
    before = work_done.copy()
    grid = {"head": [LogisticHead(), SVMHead()], "head__C": [1e-3, 1e-2, 1e-1]}
    search = GridSearchCV(tiny(cache=tmp_path), grid, scoring=kappa_scorer, cv=StratifiedKFold(2))
    search.fit(photographs.paths, photographs.grades)
    assert work_done["forward_passes"] - before["forward_passes"] == 40
    assert work_done["decodes"] - before["decodes"] == 40
    search.predict(photographs.paths)
    FeatureExtractor("tiny", weights="fixed", cache=tmp_path).fit_transform(photographs.paths)
    assert work_done["forward_passes"] - before["forward_passes"] == 40


@pytest.mark.slow
def test_another_process_finds_it_done(photographs, tmp_path):
    code = (
        "import sys; from fundus import FeatureExtractor\n"
        "from fundus.frozen.work import work_done\n"
        "e = FeatureExtractor('tiny', weights='fixed', cache=sys.argv[1])\n"
        "F = e.fit_transform(sys.argv[2:])\n"
        "print(F.sum(), work_done['forward_passes'])"
    )
    paths, before = photographs.paths[:5], work_done["forward_passes"]
    here = FeatureExtractor("tiny", weights="fixed", cache=tmp_path).fit_transform(paths)
    assert work_done["forward_passes"] - before == 5
    command = [sys.executable, "-c", code, str(tmp_path), *paths]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(here.sum()), "0"]


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 40},
        {"crop": None},
        {"normalise": "scale"},
        {"normalise": lambda images: images / np.float32(300)},
        {"photometric": "green"},
        {"photometric": lambda images: 255 - images},
        {"pooling": "max"},
        {"weights": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_setting_serves_anothers_entry(photographs, tmp_path, change):
    options = {"weights": "fixed", "cache": tmp_path, "random_state": 0}
    FeatureExtractor("tiny", **options).fit_transform(photographs.paths[:3])
    cached = FeatureExtractor("tiny", **(options | change)).fit_transform(photographs.paths[:3])
    fresh = FeatureExtractor("tiny", **(options | change | {"cache": False}))
    assert np.allclose(cached, fresh.fit_transform(photographs.paths[:3]), atol=1e-5)


def test_a_changed_image_is_read_again(photographs, tmp_path):
    file = tmp_path / "eye.png"
    extractor = FeatureExtractor("tiny", weights="fixed", crop=None)
    results = []
    for value in (50, 200):
        cv2.imwrite(str(file), np.full((40, 40, 3), value, np.uint8))
        results.append(extractor.fit_transform([file]))
    assert not np.allclose(*results)


def test_identical_images_run_once(photographs, tmp_path):
    copy = tmp_path / "copy.jpeg"
    copy.write_bytes(Path(photographs.paths[0]).read_bytes())
    before = work_done["forward_passes"]
    extractor = FeatureExtractor("tiny", weights="fixed", cache=tmp_path / "cache")
    F = extractor.fit_transform([photographs.paths[0], copy])
    assert work_done["forward_passes"] - before == 1
    assert np.array_equal(F[0], F[1])


def test_the_corpus_mean_is_of_the_training_part(photographs):
    model = tiny(photometric="corpus_mean").fit(photographs.paths[:10], [0, 1] * 5)
    recipe = ImageRecipe(32)
    images = np.stack([load_image(path, recipe) for path in photographs.paths[:10]])
    mean = dict(model.frozen_.normaliser.photometric.state)["mean"]
    assert mean == pytest.approx(images.mean(axis=(0, 1, 2), dtype=np.float64))


@pytest.mark.slow
def test_equal_numbers_are_different_cuts(photographs):
    X, y = photographs.paths, photographs.grades
    everything = tiny(SMALL_HEAD, freeze=1.0, epochs=1).fit(X, y)
    nothing = tiny(SMALL_HEAD, freeze=1, epochs=1).fit(X, y)
    assert everything.frozen_.network.freeze == "all"
    assert nothing.frozen_.network.freeze == 1
    assert len(nothing.model_.layers) > len(everything.model_.layers)
    with pytest.raises(InvalidParameterError, match="'freeze' parameter .* Got True"):
        tiny(SMALL_HEAD, freeze=True, epochs=1).fit(X, y)


@pytest.mark.slow
def test_a_replaced_weights_file_is_read_again(photographs, tmp_path):
    from fundus.backbones.build import build_backbone
    from fundus.plugins import get_registry

    spec = get_registry().find("backbone", "tiny").spec
    file = tmp_path / "w.weights.h5"
    results = []
    for seed in (1, 2):
        build_backbone(spec, weights=None, seed=seed).save_weights(file)
        extractor = FeatureExtractor("tiny", weights=file, cache=tmp_path / "cache")
        results.append(extractor.fit_transform(photographs.paths[:3]))
        fresh = FeatureExtractor("tiny", weights=str(file), cache=False)
        assert np.allclose(results[-1], fresh.fit_transform(photographs.paths[:3]), atol=1e-5)
    assert not np.allclose(*results)


def test_edited_code_makes_other_features(photographs, tmp_path, monkeypatch):
    from dataclasses import replace

    from fundus.plugins import Entry, get_registry

    def net(activation):
        def build(*, image_size, weights):
            import keras

            inputs = keras.Input((image_size, image_size, 3))
            outputs = keras.layers.Conv2D(4, 3, strides=4, activation=activation)(inputs)
            return keras.Model(inputs, outputs)

        return build

    registry = get_registry()
    spec = replace(
        registry.find("backbone", "tiny").spec, name="mine", build=net("relu"), pretrained=()
    )
    entries = registry.entries["backbone"]
    results = []
    for activation in ("relu", "tanh"):
        entry = Entry("editable", "fundus-zoo", replace(spec, build=net(activation)))
        monkeypatch.setitem(registry.entries, "backbone", [*entries, entry])
        load = FeatureExtractor("mine", weights=None, random_state=0, cache=tmp_path)
        results.append(load.fit(photographs.paths[:2]).frozen_.key())
    assert results[0] != results[1]


def test_features_under_another_precision_are_others(photographs, tmp_path):
    import keras

    extractor = FeatureExtractor("tiny", weights="fixed", cache=tmp_path)
    full = extractor.fit_transform(photographs.paths[:3])
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        half = extractor.fit_transform(photographs.paths[:3])
    finally:
        keras.config.set_dtype_policy("float32")
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    assert np.array_equal(full, extractor.fit_transform(photographs.paths[:3]))


@pytest.mark.slow
def test_random_weights_in_threads(photographs):
    from joblib import Parallel, delayed

    def extract(seed):
        extractor = FeatureExtractor("tiny", weights=None, random_state=seed, cache=False)
        return extractor.fit_transform(photographs.paths[:3])

    expected = {seed: extract(seed) for seed in range(4)}
    from fundus.backbones.network import _built, _split_frozen

    _built.cache_clear()
    _split_frozen.cache_clear()
    seeds = [0, 1, 2, 3] * 2
    results = Parallel(n_jobs=4, backend="threading")(delayed(extract)(s) for s in seeds)
    for seed, result in zip(seeds, results, strict=True):
        assert np.array_equal(result, expected[seed])


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", 4])
def test_damaged_activations_are_computed_again(photographs, tmp_path, freeze):
    from fundus.store import open_store

    X, y = photographs.paths[:10], [0, 1] * 5
    model = tiny(SMALL_HEAD, freeze=freeze, epochs=1, cache=tmp_path).fit(X, y)
    expected = model.predict_proba(X)
    store = open_store(tmp_path)
    for info in store.infos():
        environment = store.segment(info.name, dict).environment
        wrong = [(k, v[:-1] + bytes([v[-1] ^ 1])) for k, v in environment.items()]
        environment.write(wrong)
    with pytest.warns(StoreWarning, match="damaged entry"):
        again = model.predict_proba(X)
    assert np.allclose(again, expected, atol=1e-5)
    assert np.allclose(model.predict_proba(X), expected, atol=1e-5)


def test_batches_of_any_length_are_traced_once(photographs):
    from fundus.backbones.network import load_frozen

    extract = FeatureExtractor("tiny", weights="fixed", image_size=33, cache=False)
    extract.fit(photographs.paths[:1])
    for n in (5, 1, 40):
        assert extract.transform(photographs.paths[:n]).shape[0] == n
    network = load_frozen(extract.frozen_.network)
    assert network.predict_function.experimental_get_tracing_count() == 1
