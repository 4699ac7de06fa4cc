"""Ready graders: found by name, loaded, refused with the reason, checked by the kit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ready import code_of, digest_of

from fundus import TransferClassifier, list_models, load
from fundus.documents.ready import ready_card
from fundus.exceptions import BundleError, PluginWarning, UnknownNameError
from fundus.hookspecs import ModelScore, ModelSpec
from fundus.plugins import registry
from fundus.plugins.spec_fields import field_problem
from fundus.saving.bundle import save
from fundus.testing import check_model


@pytest.fixture(scope="module")
def fitted(photographs):
    model = TransferClassifier(
        "tiny", "ridge", weights="fixed", image_size=32, grades=5, random_state=0
    )
    return model.fit(photographs.paths, photographs.grades)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ready") / "model"
    save(fitted, folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the saved model, which a test may change."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture
def plugin(install, monkeypatch, tmp_path):
    """Return a function that installs a plugin, which is then known in this process."""
    monkeypatch.chdir(tmp_path)

    def add(name, code, **more):
        place = install(name, code, **more)
        registry._loaded.cache_clear()
        return place

    return add


@pytest.fixture
def spec(folder) -> ModelSpec:
    return ModelSpec(
        name="toy",
        description="A toy.",
        folder=folder,
        licence="MIT",
        training_data="40 synthetic photographs.",
        intended_use="Tests.",
        limits=("For nothing else.",),
        scores=(
            ModelScore(
                score="kappa", value=0.5, low=0.4, high=0.6, photographs="20 synthetic ones",
                chose="nothing", source="a guess",
            ),
        ),
        digest=digest_of(folder),
    )  # fmt: skip


def changed(folder: Path, file: str, change) -> None:
    """Change a JSON file of a saved model, and its digest in the manifest."""
    import hashlib

    path = folder / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    if file != "manifest.json":
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        changed(folder, "manifest.json", lambda m: m["files"].update({file: digest}))


def test_a_model_is_loaded_by_its_name(plugin, fitted, saved, photographs):
    assert "toy" not in list_models()
    plugin("clinic", code_of(saved))
    assert "toy" in list_models()
    expected = fitted.predict_severity(photographs.paths[:4])
    for name in ("toy", "clinic/toy", Path("toy")):
        assert np.array_equal(load(name).predict_severity(photographs.paths[:4]), expected)


def test_a_folder_of_that_name_comes_first(plugin, saved, tmp_path):
    plugin("clinic", code_of(saved))
    (tmp_path / "toy").mkdir()
    with pytest.raises(BundleError, match="'toy' is not a saved model: it must be a folder with"):
        load("toy")
    assert load("clinic/toy").classes_.tolist() == [0, 1, 2, 3, 4]


def test_what_is_neither_a_folder_nor_a_name_is_told_with_the_names(plugin, saved):
    plugin("clinic", code_of(saved))
    plugin("broken", "1 / 0")
    for name in ("tay", "other/toy", "./toy", "a/b/c"):
        registry._loaded.cache_clear()
        told = r"no such folder.* 'toy'.* failed to load: broken"
        with pytest.warns(PluginWarning), pytest.raises(BundleError, match=told):
            load(name)


def test_a_plugin_that_is_left_out_is_named(plugin, saved, monkeypatch):
    monkeypatch.setenv("FUNDUS_DISABLE_PLUGINS", "clinic,fundus-idrid")
    plugin("clinic", code_of(saved))
    # the installing has undone it
    monkeypatch.setenv("FUNDUS_DISABLE_PLUGINS", "clinic,fundus-idrid")
    registry._loaded.cache_clear()
    with pytest.raises(BundleError, match=r"No plugin here .*leaves out: .*clinic"):
        load("toy")


def test_a_folder_that_is_missing_or_another_is_told(plugin, folder):
    plugin("clinic", code_of(folder))
    changed(folder, "manifest.json", lambda m: m.update(more=1))
    with pytest.raises(BundleError, match=r"'clinic/toy' of dist-clinic 1\.0 .*must have the SHA"):
        load("toy")
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"has no manifest.json: install dist-clinic again"):
        load("toy")
    shutil.rmtree(folder)
    with pytest.raises(BundleError, match=r"copy' is not there: install dist-clinic again"):
        load("toy")


def test_a_model_of_another_release_is_told(plugin, folder):
    changed(folder, "manifest.json", lambda m: m.update(format=99))
    plugin("clinic", code_of(folder))
    with pytest.raises(BundleError, match=r"'clinic/toy' of dist-clinic 1\.0 .*format 99.*upgrade"):
        load("toy")


def test_a_model_whose_backbone_is_not_here_is_told(plugin, folder):
    def elsewhere(record):
        record["model"]["frozen"] |= {"backbone": "gone/net", "distribution": "fundus-gone"}

    changed(folder, "model.json", elsewhere)
    plugin("clinic", code_of(folder))
    with pytest.raises(
        UnknownNameError, match=r"'clinic/toy' of .*'gone/net'.*install fundus-gone"
    ):
        load("toy")


def test_two_plugins_with_a_model_of_one_name(plugin, saved):
    plugin("clinic", code_of(saved))
    plugin("other", code_of(saved))
    with pytest.raises(UnknownNameError, match="ambiguous: give 'clinic/toy' and 'other/toy'"):
        load("toy")
    assert load("other/toy").classes_.tolist() == [0, 1, 2, 3, 4]
    assert {"clinic/toy", "other/toy"} <= set(list_models())


def test_two_plugins_of_one_name_are_told_and_the_first_works(plugin, saved):
    plugin("clinic", code_of(saved))
    plugin("clinic", code_of(saved, name="'second'"), distribution="dist-later")
    with pytest.warns(PluginWarning, match="Two plugins are called 'clinic'"):
        assert load("toy").classes_.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(BundleError, match="failed to load: clinic"):
        load("second")


def test_a_broken_model_leaves_the_others(plugin, saved):
    plugin("clinic", code_of(saved))
    plugin("bad", code_of(saved, limits="'a str'"))
    with pytest.warns(PluginWarning, match="'limits' must be a tuple of at least one str"):
        assert load("toy") is not None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"folder": "model"}, "'folder' must be an absolute path"),
        ({"licence": ""}, "'licence' must be a str that is not empty"),
        ({"limits": ()}, "'limits' must be a tuple of at least one str"),
        ({"digest": "a" * 32}, "'digest' must be 64 hexadecimal digits"),
        ({"scores": [1]}, "'scores' must be a tuple of ModelScore"),
        ({"low": 0.6}, "in 'scores[0]', 'value' must lie in its interval, 0.6 to 0.6"),
        ({"value": float("nan")}, "in 'scores[0]', 'value' must be a finite number"),
        ({"chose": ""}, "in 'scores[0]', 'chose' must be a str"),
        ({}, ""),
    ],
)
def test_fields_that_cannot_be_used_are_told(spec, changes, problem):
    own = {name: value for name, value in changes.items() if hasattr(spec, name)}
    of_score = {name: value for name, value in changes.items() if name not in own}
    scores = tuple(replace(score, **of_score) for score in spec.scores)
    found = field_problem(replace(spec, **({"scores": scores} | own)))
    assert problem in found
    assert bool(found) == bool(problem)


def test_the_kit_passes_a_sound_model(spec, plugin, saved):
    check_model(spec)
    plugin("clinic", code_of(saved))
    check_model("clinic/toy")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scores": ()}, "'scores' must say what it was worth"),
        ({"licence": "unknown"}, "'licence' must name a licence"),
        ({"digest": ""}, "'digest' must be the SHA-256 of its manifest.json"),
        ({"digest": "a" * 64}, "must have the SHA-256 a"),
        ({"folder": "/nowhere"}, "is not there"),
    ],
)
def test_the_kit_refuses_records_that_say_too_little(spec, changes, problem):
    with pytest.raises(AssertionError, match=problem):
        check_model(replace(spec, **changes))


def test_the_kit_refuses_photographs_other_files_and_paths(spec, folder, photographs):
    with pytest.raises(AssertionError, match="at most 1,000 bytes"):
        check_model(spec, most_bytes=1000)
    (folder / "notes.txt").write_text("x")
    with pytest.raises(AssertionError, match=r"manifest.json alone. Got \['notes.txt'\]"):
        check_model(spec)
    (folder / "notes.txt").unlink()

    def path(record):
        record["about"] = {"data": "/home/me/labels.csv"}

    changed(folder, "model.json", path)
    with pytest.raises(AssertionError, match="must name no folder.*/home/me/labels.csv"):
        check_model(replace(spec, digest=digest_of(folder)))
    again = folder.with_name("with-a-photograph")
    photo = Path(photographs.paths[0]).read_bytes()
    save(load(folder), again, more={"thumbnail": photo})
    with pytest.raises(AssertionError, match=r"no photograph may be in its folder.*'thumbnail'"):
        check_model(replace(spec, folder=again, digest=digest_of(again)))


def test_the_kit_refuses_a_model_that_takes_no_photographs(spec, blobs, tmp_path):
    model = TransferClassifier("precomputed", "ridge", grades=3, random_state=0).fit(*blobs)
    save(model, tmp_path / "features")
    digest = digest_of(tmp_path / "features")
    with pytest.raises(AssertionError, match="must take photographs"):
        check_model(replace(spec, folder=tmp_path / "features", digest=digest))


def test_a_card_has_all_that_the_record_says(spec):
    card = ready_card(spec)
    for part in (spec.description, spec.training_data, spec.licence, *spec.limits):
        assert part in card
    assert "0.500 (0.400 to 0.600)" in card
    assert "not a medical device" in card
    assert "every figure is optimistic" not in card
    chosen = tuple(replace(score, chose="the recipe | all") for score in spec.scores)
    card = ready_card(replace(spec, scores=chosen))
    assert "every figure is optimistic" in card
    assert "the recipe \\| all" in card
    assert "Nobody has said" in ready_card(replace(spec, scores=()))


def test_the_same_model_is_saved_as_the_same_bytes(fitted, saved, tmp_path):
    for number, model in enumerate((fitted, load(saved))):
        save(model, tmp_path / str(number))
        for path in saved.iterdir():
            assert (tmp_path / str(number) / path.name).read_bytes() == path.read_bytes(), path
