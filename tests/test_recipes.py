"""Recipes: `make_grader`, the table of values, and what of them a given head cannot use."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import fundus
from fundus import FoldEnsemble, TransferClassifier, TunedCutpointClassifierCV, make_grader
from fundus.exceptions import InvalidGradeError, InvalidParameterError, UnknownNameError
from fundus.frozen.loading import work_done
from fundus.heads.base import NeuralHead
from fundus.plugins import get_registry
from fundus.recipes.grader import make_classifier
from fundus.recipes.table import AUGMENTATIONS, RECIPES, find_recipe
from fundus.recipes.usable import leave_out

SMALL = {"backbone": "tiny", "weights": "fixed", "image_size": 32}


def small(grades=5, *, random_state=0, **more):
    """The default grader on a network that takes no time."""
    grader = make_grader(grades, random_state=random_state)
    values = {**SMALL, **more}
    return grader.set_params(**{f"estimator__{name}": value for name, value in values.items()})


def passes_of(work) -> int:
    """Images that went through a network meanwhile."""
    before = work_done["forward_passes"]
    work()
    return work_done["forward_passes"] - before


@pytest.mark.slow
def test_an_image_passes_the_network_five_times_and_never_again(evenly_graded, tmp_path):
    X, y = evenly_graded.frame, evenly_graded.grades
    grader = small(random_state=None, cache=tmp_path / "store")
    each = passes_of(lambda: grader.fit(X, y)) / len(y)
    assert each <= 6  # as promised
    assert each == 1 + grader.estimator.augment_views  # inner folds of the cutpoints included
    assert passes_of(lambda: grader.fit(X, y)) == 0
    assert passes_of(lambda: FoldEnsemble(clone(grader), cv=2, random_state=0).fit(X, y)) == 0


@pytest.mark.slow
def test_its_maps_are_exact(evenly_graded):
    grader = small().fit(evenly_graded.frame, evenly_graded.grades)
    found = grader.explain(evenly_graded.paths[:4])
    assert found.method == "exact"
    sums = [found.map(row).sum() for row in range(4)] + found.bias
    assert sums == pytest.approx(found.severity, abs=1e-4)
    assert found.severity == pytest.approx(grader.predict_severity(evenly_graded.paths[:4]))


def test_the_values_are_those_of_the_table():
    grader = make_grader(random_state=3)
    values = dict(RECIPES["default"].values)
    assert isinstance(grader, TunedCutpointClassifierCV) is values.pop("cutpoints")
    assert grader.distribution == values.pop("distribution")
    assert values.pop("augment") == "cameras"
    assert grader.estimator.augment == fundus.Augmentation.cameras()
    has = grader.get_params()
    for name, value in values.items():
        if name == "head":
            head = has["estimator__head"]
            assert type(head) is get_registry().find("head", value).spec.maker
        else:
            assert has[f"estimator__{name}"] == value, name
    assert has["estimator__grades"] == 5


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_value_is_one_of_an_estimator(recipe):
    values = recipe.values
    takes = {*inspect.signature(TransferClassifier).parameters}
    around = {"cutpoints", "distribution", "n_bootstraps"}
    of_head = {name for name in values if name.startswith("head__")}
    assert {*values} - of_head - around <= takes
    assert values["augment"] in AUGMENTATIONS
    get_registry().find("backbone", values["backbone"])
    classifier = make_classifier(values)  # its head takes what is given for it
    for name in of_head:
        assert getattr(classifier.head, name.removeprefix("head__")) == values[name]
    assert recipe.description
    assert "\n" not in recipe.description


def test_fast_is_the_classifier_that_needs_nothing_said():
    former = TransferClassifier(pool_over="all").get_params()
    assert make_classifier(RECIPES["fast"].values).get_params() == former


@pytest.mark.slow
@pytest.mark.parametrize("grades", [2, ["healthy", "ill"], 5, ["A", "B", "C", "D", "E"]])
def test_it_grades_on_any_scale(grades, evenly_graded):
    names = list(range(grades)) if isinstance(grades, int) else grades
    positions = evenly_graded.grades
    if len(names) == 2:
        positions = (positions >= 2).astype(int)
    y = np.array(names)[positions]
    grader = small(grades).fit(evenly_graded.frame, y)
    assert grader.grades_.tolist() == names
    assert len(grader.cutpoints_) == len(names) - 1
    assert set(grader.predict(evenly_graded.frame)) <= set(names)
    assert grader.predict_proba(evenly_graded.paths[:3]).shape == (3, len(names))


def test_a_grade_off_the_scale_is_told(evenly_graded):
    with pytest.raises(InvalidGradeError):
        small(2).fit(evenly_graded.frame, evenly_graded.grades)


def test_the_seed_reaches_views_and_folds(evenly_graded):
    X, y = evenly_graded.frame, evenly_graded.grades
    first, again, other = (small(random_state=seed).fit(X, y) for seed in (0, 0, 1))
    for name in ("oof_severity_", "cutpoints_"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert not np.array_equal(first.oof_severity_, other.oof_severity_)
    # each of them by itself
    for name in ("random_state", "estimator__random_state"):
        mixed = small(random_state=0).set_params(**{name: 1}).fit(X, y)
        assert not np.array_equal(mixed.oof_severity_, first.oof_severity_), name
    seeds = {k: v for k, v in first.get_params().items() if k.endswith("random_state")}
    assert set(seeds.values()) == {0}
    assert len(seeds) == 2  # there is none that it misses


def test_without_a_seed_each_grader_draws_its_own_once():
    seeds = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002 - what users do, and what must not matter
        params = make_grader().get_params()
        assert params["random_state"] == params["estimator__random_state"]
        assert isinstance(params["random_state"], int)
        seeds.append(params["random_state"])
    assert seeds[0] != seeds[1]
    drawn = [make_grader(random_state=np.random.RandomState(4)) for _ in range(2)]
    assert drawn[0].random_state == drawn[1].random_state
    assert make_grader(random_state=np.int64(7)).random_state == 7


def test_it_is_an_estimator_of_scikit_learn(evenly_graded):
    X, y = evenly_graded.frame, evenly_graded.grades
    grader = small()
    copies = [clone(grader), pickle.loads(pickle.dumps(grader))]
    told = repr(grader)
    for copied in copies:
        assert repr(copied) == told
        assert copied.get_params().keys() == grader.get_params().keys()
    first, second = (copied.fit(X, y).predict_severity(X) for copied in copies)
    assert np.array_equal(first, second)
    fitted = pickle.loads(pickle.dumps(copies[0]))
    assert np.array_equal(fitted.predict(X), copies[0].predict(X))


@pytest.mark.slow
def test_it_is_searched_and_cross_validated(evenly_graded, tmp_path):
    X, y = evenly_graded.frame, evenly_graded.grades
    grid = {"estimator__head__alpha": [1.0, 1e4], "n_bootstraps": [0, 5]}
    search = GridSearchCV(small(), grid, cv=2, scoring=fundus.kappa_scorer).fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    best = search.best_estimator_.estimator_.head
    assert best.alpha == search.best_params_["estimator__head__alpha"]
    assert best.view_strength == RECIPES["default"].values["head__view_strength"]
    ensemble = FoldEnsemble(small(), cv=2, random_state=0).fit(X, y)
    assert ensemble.voting_ == "cutpoints"
    assert not np.isnan(ensemble.oof_severity_).any()


@pytest.mark.parametrize("folds", [0, 2])
def test_it_is_saved_and_loaded(folds, evenly_graded, tmp_path):
    X, y = evenly_graded.frame, evenly_graded.grades
    model = FoldEnsemble(small(), cv=folds, random_state=0) if folds else small()
    model.fit(X, y)
    model.save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert np.array_equal(loaded.predict_severity(X), model.predict_severity(X))
    again = clone(loaded).fit(X, y)  # its parameters came along
    assert np.array_equal(again.predict_severity(X), model.predict_severity(X))


@pytest.mark.slow
def test_the_real_one_runs_on_real_photographs(idrid):
    some = idrid.groupby(idrid["grade"] >= 2).head(5)
    y = (some["grade"] >= 2).astype(int)
    grader = make_grader(2, random_state=0).fit(some[["path"]], y)
    assert grader.estimator_.frozen_.network.spec.name == "efficientnet_lite0"
    assert (grader.predict(some[["path"]]) == y).mean() > 0.5  # of images that it has seen


def test_an_unknown_recipe_is_told():
    with pytest.raises(UnknownNameError, match=r"no recipe called 'fats'. Did you mean 'fast'\?"):
        find_recipe("fats")
    with pytest.raises(UnknownNameError, match="There are: default, chapter, fast"):
        find_recipe("zzzz")


PLAIN = {
    "backbone": "efficientnet_lite0", "head": "softmax", "weights": "imagenet", "image_size": None,
    "crop": "fov", "freeze": "all", "pooling": "avg", "pool_over": "all", "stages": None,
    "power": None, "augment": "none", "augment_views": None, "head__alpha": None,
    "head__view_strength": 0.0, "class_weight": "balanced", "learning_rate": "auto",
    "batch_size": 16, "epochs": 40,
    "cutpoints": False, "distribution": "empirical", "n_bootstraps": 0,
}  # fmt: skip


def with_given(recipe="default", *, calibrated=False, **given):
    """What remains of a recipe beside values that were given, and what is left out."""
    values = {**PLAIN, **RECIPES[recipe].values, **given}
    by_recipe = {*RECIPES[recipe].values} - {*given}
    return leave_out(values, by_recipe, PLAIN, calibrated=calibrated)


def test_nothing_is_left_out_where_nothing_is_given():
    for name, recipe in RECIPES.items():
        values, why = with_given(name)
        assert why == {}
        assert values == {**PLAIN, **recipe.values}


@pytest.mark.parametrize(
    ("recipe", "given", "left_out"),
    [
        ("default", {"head": "softmax"}, ["head__alpha", "head__view_strength", "distribution"]),
        ("default", {"head": "svm"}, ["head__alpha", "head__view_strength", "distribution"]),
        ("default", {"head": "logistic"}, ["head__alpha", "distribution"]),
        ("default", {"augment": "none"}, ["augment_views", "head__view_strength"]),
        ("default", {"augment_views": None}, ["augment", "head__view_strength"]),
        ("default", {"pooling": "avg"}, ["stages"]),
        ("default", {"stages": None}, []),
        ("default", {"cutpoints": False}, ["distribution"]),
        (
            "default",
            {"head": "relu", "freeze": 0.5},
            ["pooling", "power", "pool_over", "stages", "head__alpha", "head__view_strength"],
        ),
        ("chapter", {"head": "corn"}, []),
        (
            "chapter",
            {"head": "ridge"},
            ["freeze", "learning_rate", "augment"],  # epochs and batch_size are the plain ones
        ),
        ("fast", {"head": "ridge"}, []),
    ],
)
def test_what_cannot_be_used_is_left_out(recipe, given, left_out):
    values, why = with_given(recipe, **given)
    assert list(why) == left_out
    for name, value in {**PLAIN, **RECIPES[recipe].values, **given}.items():
        assert values[name] == (PLAIN[name] if name in left_out else value), name


def test_calibration_takes_the_place_of_cutpoints():
    values, why = with_given(calibrated=True)
    assert list(why) == ["cutpoints", "distribution"]
    assert not values["cutpoints"]


def test_what_is_given_stays_whatever_it_is():
    _, why = with_given(head="svm", head__view_strength=2.0, distribution="normal")
    assert list(why) == ["head__alpha"]
    with pytest.raises(InvalidParameterError, match="'view_strength' .* left out for the head"):
        make_classifier({"head": "svm", "head__view_strength": 2.0})


def test_a_parameter_of_the_recipe_s_head_goes_with_it(monkeypatch):
    values = {**PLAIN, **RECIPES["default"].values, "head__alpha": 30.0}
    kept, why = leave_out(values, {*values}, PLAIN)
    assert why == {}
    assert make_classifier(kept).head.alpha == 30.0
    kept, why = leave_out({**values, "head": "ordinal_ridge"}, {*values} - {"head"}, PLAIN)
    assert list(why) == ["head__alpha", "distribution"]
    assert kept["head__alpha"] is None


def test_the_recipe_s_head_cannot_train_layers():
    with pytest.raises(InvalidParameterError, match="The recipe's head, 'ridge', cannot train"):
        with_given(freeze=0.75)


def is_neural(head):
    return isinstance(get_registry().find("head", head).spec.maker(), NeuralHead)


def test_neural_classifiers_are_alike_to_a_recipe():
    """So that one of them stands for all where a model is trained."""
    heads = [head for head in fundus.list_heads() if is_neural(head) and head != "relu"]
    found = {head: with_given(head=head) for head in heads}
    assert {"softmax", "corn", "coral"} < set(found)
    for head, (values, why) in found.items():
        assert why.keys() == found["softmax"][1].keys(), head
        assert {**values, "head": "softmax"} == found["softmax"][0], head


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize(
    ("recipe", "head"),
    [
        *(("default", head) for head in fundus.list_heads() if not is_neural(head)),
        *(("default", head) for head in ("softmax", "relu")),
        *(("chapter", head) for head in ("relu", "ridge", "svm")),
    ],
)
def test_every_head_can_be_trained_with_a_recipe(recipe, head, photographs):
    network = {"backbone": "tiny", "weights": "fixed", "image_size": 32}
    neural = is_neural(head)
    if neural:
        network |= {"epochs": 1}
    if recipe == "chapter" and neural:
        network |= {"freeze": 4}  # it has fewer than 30 layers
    values, _ = with_given(recipe, head=head, **network)
    model = make_classifier(values, grades=5, random_state=0)
    model.fit(photographs.frame, photographs.grades)
    assert model.predict(photographs.paths[:2]).shape == (2,)


NETWORK = """
from fundus.hookspecs import BackboneSpec, hookimpl

def build(*, image_size, weights):
    import keras
    inputs = keras.Input((image_size, image_size, 3))
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    end = {end}
    return keras.Model(inputs, end)

@hookimpl
def fundus_backbones():
    return [BackboneSpec(name="flat", build=build, image_size=32, parameters=112, licence="MIT")]
"""


@pytest.mark.parametrize(
    ("end", "left_out"),
    [
        ("maps", ["pooling", "stages"]),
        ("keras.layers.GlobalAveragePooling2D()(maps)", ["pooling", "stages", "pool_over"]),
    ],
)
def test_a_backbone_without_stages(end, left_out, install, photographs):
    install("odd", NETWORK.format(end=end))
    network = {"backbone": "flat", "weights": None, "image_size": 32}
    values, why = with_given(**network)
    assert list(why) == left_out
    make_classifier(values, random_state=0).fit(photographs.frame, photographs.grades)
    _, why = with_given(**network, pooling="multilevel", stages=None)
    assert "pooling" not in why  # it is given, and an error of the fit


def test_the_page_has_the_values_of_the_table():
    page = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
    names = list(dict.fromkeys(n for recipe in RECIPES.values() for n in recipe.values))
    rows = [f"| value | {' | '.join(f'`{name}`' for name in RECIPES)} |", "|---" * 4 + "|"]
    for name in names:
        cells = [_shown(recipe.values, name) for recipe in RECIPES.values()]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    wanted = "\n".join(rows)
    assert wanted in page.read_text(encoding="utf-8"), f"docs/recipes.md should have:\n{wanted}"


def _shown(values, name):
    if name not in values:
        return ""
    value = values[name]
    if isinstance(value, slice):
        return "all but the first" if value == slice(1, None) else str(value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
