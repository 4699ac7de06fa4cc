"""``--recipe`` of ``fundus train`` and ``fundus plan``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fundus
from fundus.cli import app
from fundus.cli import options as opt
from fundus.cli.choosing import choose
from fundus.cli.settings import Settings, key_of, parameters
from fundus.cli.training import make_classifier as chosen_classifier
from fundus.cli.training import make_model
from fundus.meta.resume import KeptFold
from fundus.recipes.grader import make_classifier
from fundus.recipes.table import AUGMENTATIONS, RECIPES

#: The default recipe on a network that takes no time.
NETWORK = ["--backbone", "tiny", "--weights", "fixed", "--image-size", "32"]
SMALL = [*NETWORK, "--folds", "2", "--no-audit", "--no-maps"]


def words(result):
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def eyes(evenly_graded):
    """The table of 80 photographs with enough patients for folds inside folds."""
    return Path(evenly_graded.paths[0]).parents[1] / "labels.csv"


@pytest.fixture(scope="module")
def by_default(eyes, document, no_figures, tmp_path_factory):
    """A finished run of the default recipe, its options and what it printed."""
    base = tmp_path_factory.mktemp("default")
    options = [eyes, *SMALL, "--cache-dir", base / "cache"]
    return options, base / "run", document("train", *options, "--out", base / "run")


@pytest.mark.slow
def test_train_is_make_grader(by_default, evenly_graded):
    """The same bits, in Python and at the command line."""
    _, out, printed = by_default
    grader = fundus.make_grader(random_state=0).set_params(
        estimator__backbone="tiny", estimator__weights="fixed", estimator__image_size=32
    )
    model = fundus.FoldEnsemble(grader, cv=2, random_state=0)
    model.fit(evenly_graded.frame, evenly_graded.grades)
    oof = pd.read_csv(out / "oof.csv")
    np.testing.assert_allclose(oof["severity"], model.oof_severity_, rtol=1e-5, atol=1e-5)
    assert oof["prediction"].tolist() == model.oof_prediction_.tolist()
    saved = fundus.load(out / "model").ensemble_
    assert [list(m.cutpoints_) for m in saved.estimators_] == [
        list(m.cutpoints_) for m in model.estimators_
    ]
    assert printed["settings"]["recipe"] == "default"
    assert printed["settings"]["stages"] == "1:"


@pytest.mark.slow
def test_fast_is_the_former_command(trained, folder):
    """The same bits as the defaults of `TransferClassifier`, in folds."""
    out, printed = trained
    former = fundus.TransferClassifier(
        "tiny", "logistic", weights="fixed", image_size=32, pool_over="all", random_state=0
    )
    model = fundus.FoldEnsemble(former, cv=3, random_state=0)
    data = fundus.load_image_folder(folder)
    model.fit(data.frame, data.grades)
    oof = pd.read_csv(out / "oof.csv")
    np.testing.assert_allclose(oof["severity"], model.oof_severity_, rtol=1e-5, atol=1e-5)
    assert oof["prediction"].tolist() == model.oof_prediction_.tolist()
    assert printed["settings"]["recipe"] == "fast"
    assert printed["settings"]["cutpoints"] is False


@pytest.mark.slow
def test_chapter_stands_for_the_chapter_s_options(eyes):
    former = Settings(
        eyes,
        "fast",
        backbone="inception_v3",
        image_size=224,
        freeze="30",
        learning_rate="1e-4",
        batch_size=16,
        epochs=40,
        augment=True,
        class_weight=opt.ClassWeight.INVERSE_FREQUENCY,
        crop=opt.Crop.NONE,
    )
    now, then = choose(Settings(eyes, "chapter")), choose(former)
    assert now.left_out == {}
    assert make_classifier(now.values).get_params() == make_classifier(then.values).get_params()
    assert now.settings.cutpoints is False


@pytest.mark.slow
def test_the_chapter_s_recipe_trains(run, folder, tmp_path):
    out = tmp_path / "run"
    options = ["--recipe", "chapter", *SMALL, "--freeze", "4", "--epochs", "1", "--out", out]
    run("train", folder, *options, "--cache-dir", tmp_path / "cache")
    settings = json.loads((out / "metrics.json").read_text())["settings"]
    assert settings["class_weight"] == "inverse_frequency"
    assert (settings["crop"], settings["freeze"], settings["epochs"]) == ("none", "4", 1)
    assert fundus.load(out / "model").ensemble_.estimators_[0].freeze == 4


@pytest.mark.parametrize("recipe", RECIPES)
def test_options_write_what_they_read(recipe):
    for own in parameters():
        key, read, write = key_of(own), own.metadata["read"], own.metadata["write"]
        for values in ({key: read(own.metadata["default"])}, RECIPES[recipe].values):
            if key in values:
                assert read(write(values[key])) == values[key], own.name
    assert tuple(opt.Augmentation) == AUGMENTATIONS


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_value_of_a_recipe_has_an_option(recipe):
    known = {key_of(own) for own in parameters()}
    assert {*RECIPES[recipe].values} <= known


@pytest.mark.slow
def test_the_plan_prints_every_value_and_its_source(document, run, eyes, tmp_path):
    options = [eyes, *NETWORK, "--cache-dir", tmp_path, "--class-weight", "balanced"]
    found = document("plan", *options)["recipe"]
    assert found["name"] == "default"
    assert {*found["values"]} == {own.name for own in parameters()}
    sources = {name: one["from"] for name, one in found["values"].items()}
    given = {"backbone", "weights", "image_size", "class_weight"}
    assert {name for name, source in sources.items() if source == "option"} == given
    of_recipe = {*RECIPES["default"].values} - given
    called = {
        "augment": "augmentation",
        "head__alpha": "head_alpha",
        "head__view_strength": "view_strength",
    }
    of_recipe = {called.get(name, name) for name in of_recipe}
    assert {name for name, source in sources.items() if source == "recipe"} == of_recipe
    assert {*sources.values()} == {"option", "recipe", "default"}
    assert found["values"]["class_weight"] == {"value": "balanced", "from": "option"}
    assert found["values"]["stages"] == {"value": "1:", "from": "recipe"}
    assert found["values"]["batch_size"] == {"value": 16, "from": "default"}
    shown = run("plan", *options).stdout
    rows = [line.split() for line in shown.splitlines() if line.strip().startswith("--")]
    assert {row[0] for row in rows} == {f"--{n.replace('_', '-')}" for n in found["values"]}
    assert ["--augmentation", "cameras", "recipe"] in rows
    assert ["--cutpoints", "yes", "recipe"] in rows
    assert ["--crop", "fov", "default"] in rows


@pytest.mark.slow
def test_an_option_replaces_that_value_alone(document, eyes, tmp_path):
    options = [eyes, *NETWORK, "--cache-dir", tmp_path]
    before = document("plan", *options)["recipe"]["values"]
    after = document("plan", *options, "--stages", ":", "--augment-views", "2")["recipe"]["values"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"stages", "augment_views"}
    assert after["augment_views"] == {"value": 2, "from": "option"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--head", "softmax"], "--view-strength (the head 'softmax' has no such parameter)"),
        (["--head", "svm"], "--view-strength (the head 'svm' has no such parameter)"),
        (
            ["--no-augment"],
            "--augment-views (no image is changed), --view-strength (there are no views)",
        ),
        (["--no-cutpoints"], "--distribution (there are no cutpoints)"),
        (["--recipe", "chapter", "--head", "ridge"], "--freeze (the head 'ridge' cannot train"),
    ],
)
def test_what_is_left_out_is_told_in_one_line(given, told, run, document, eyes, tmp_path):
    options = [eyes, *NETWORK, "--cache-dir", tmp_path, *given]
    result = run("plan", *options)
    [line] = [part for part in result.stderr.splitlines() if part.startswith("Left out of")]
    assert told in line
    found, shown = document("plan", *options)["recipe"], " ".join(result.stdout.split())
    for name, why in found["left_out"].items():
        assert found["values"][name]["from"] == "default"
        assert f"default; the recipe's is left out: {why}" in shown


@pytest.mark.slow
def test_calibration_leaves_out_cutpoints(eyes):
    chosen = choose(Settings(eyes, calibrate=opt.Calibrate.SIGMOID))
    assert {*chosen.left_out} == {"cutpoints", "distribution"}
    assert chosen.settings.cutpoints is False


@pytest.mark.slow
def test_nothing_is_told_where_nothing_is_left_out(run, eyes, tmp_path):
    result = run("plan", eyes, *NETWORK, "--cache-dir", tmp_path)
    assert "Left out" not in result.stderr
    assert "Recipe default:" in result.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--recipe", "fats"], "There is no recipe called 'fats'. Did you mean 'fast'?"),
        (["--recipe", "mine"], "There are: default, chapter, fast."),
        (["--backbone", "precomputed"], "no backbone called 'precomputed' that runs on images"),
        (["--freeze", "0.5"], "The recipe's head, 'ridge', cannot train layers"),
        (["--recipe", "fast", "--bootstraps", "9"], "it needs --cutpoints"),
        (["--recipe", "fast", "--augment-views", "2"], "option --augmentation must be"),
        (["--head", "svm", "--view-strength", "1"], "option --view-strength must be left out"),
        (["--augment", "--augmentation", "cameras"], "it means --augmentation warp"),
        (["--no-augment", "--augmentation", "warp"], "it means --augmentation none"),
        (["--calibrate", "sigmoid", "--cutpoints"], "it cannot go with --calibrate"),
    ],
)
def test_what_cannot_be_is_an_error_before_any_image_is_read(given, told, run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run("train", empty, *NETWORK, *given, "--out", tmp_path / "run", code=2)
    assert told in words(result)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("head", "logs"), [("ridge", False), ("softmax", True)])
def test_only_a_neural_head_logs(head, logs, eyes, evenly_graded, tmp_path):
    """Any other would warn that it ignores the folder, in every run of the default recipe."""
    chosen = choose(Settings(eyes, backbone="tiny", weights="fixed", head=head, cutpoints=False))
    classifier = chosen_classifier(chosen, verbose=False)
    model = make_model(classifier, evenly_graded, chosen.settings, tmp_path)
    assert model.log_dir == (tmp_path if logs else None)
    assert model.grades == 5


@pytest.mark.slow
def test_augment_is_short_for_an_augmentation(eyes):
    def chosen(**given):
        found = choose(Settings(eyes, **given))
        return found.values["augment"], found.settings.to_dict()["augmentation"]

    assert chosen() == ("cameras", "cameras")
    assert chosen(augment=True) == ("warp", "warp")
    assert chosen(augment=True, augmentation=opt.Augmentation.WARP) == ("warp", "warp")
    assert chosen(augment=False) == ("none", "none")
    assert chosen(recipe="fast") == ("none", "none")


def test_help_says_what_the_recipe_has(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shown = " ".join(run("train", "--help").stdout.replace("│", " ").split())
    for value in ("ridge", "320", "multilevel_std", "1:", "cameras", "yes", "none"):
        assert f"by recipe: {value}" in shown
    assert "[default: (fov)]" in shown  # no recipe's, of --crop


@pytest.fixture
def interrupted(by_default, tmp_path, monkeypatch):
    """A run of the default recipe whose process ended in its second fold, and its options."""
    fit = KeptFold.fit

    def stopped(self, *data, **more):
        if self.number == 1:
            raise KeyboardInterrupt
        return fit(self, *data, **more)

    options = [*map(str, by_default[0]), "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(KeptFold, "fit", stopped)
        result = CliRunner().invoke(app, ["train", *options])
    assert result.exit_code == 130, result.output
    return options


@pytest.mark.slow
@pytest.mark.usefixtures("whole_intervals")
def test_an_interrupted_recipe_goes_on(interrupted, by_default, run, document, tmp_path):
    told = words(run("train", *interrupted, "--resume", "--recipe", "fast", code=2))
    assert "other options: --recipe was 'default', is 'fast'. Give" in told  # and no more than that
    told = words(run("train", *interrupted, "--resume", "--augment-views", "2", code=2))
    assert "--augment-views was 4, is 2" in told
    found = document("train", *interrupted, "--resume")
    _, out, whole = by_default
    assert found["out_of_fold"] == whole["out_of_fold"]
    assert (tmp_path / "run" / "oof.csv").read_bytes() == (out / "oof.csv").read_bytes()


#: What settings of a run had not before there were recipes.
NEW = (
    "recipe", "pool_over", "stages", "augmentation", "augment_views", "head_alpha",
    "view_strength", "distribution", "bootstraps", "aperture", "warmup_epochs", "site_column",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_from_before_recipes_is_one_of_fast(trained, folder, logistic, run, tmp_path):
    out, _ = trained
    cache = ["--cache-dir", out.parent / "cache"]
    old = tmp_path / "old"
    run("train", folder, *logistic, "--out", old, *cache)
    metrics = json.loads((old / "metrics.json").read_text())
    for name in NEW:
        del metrics["settings"][name]
    metrics["settings"]["augment"] = False
    (old / "metrics.json").write_text(json.dumps(metrics))
    options = [folder, *logistic, "--out", old, *cache, "--resume"]
    assert "is complete" in words(run("train", *options))
    told = words(run("train", *options, "--recipe", "default", code=2))
    assert "--recipe was 'fast', is 'default'" in told
    assert "--pooling" not in told
    told = words(run("train", *options, "--augment", code=2))
    assert "--augmentation was 'none', is 'warp'" in told
    assert run("predict", old, folder, "-o", tmp_path / "r.csv").exit_code == 0
