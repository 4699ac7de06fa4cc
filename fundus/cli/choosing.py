"""``--recipe``: the values that a training has, and where each of them came from."""

from __future__ import annotations

from dataclasses import Field, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import typer

import fundus.cli.options as opt
from fundus.cli.settings import Settings, in_words, key_of, parameters, plain
from fundus.recipes.table import Recipe, find_recipe
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from fundus.cli.screen import Screen

From = Literal["option", "recipe", "default"]


@dataclass(frozen=True)
class Chosen:
    """The values of a training.

    Parameters
    ----------
    recipe : Recipe
    settings : Settings
        None of them open.
    values : dict of str to object
        By their names in recipes, and as recipes have them.
    sources : dict of str to {"option", "recipe", "default"}
        Where they came from.
    left_out : dict of str to str
        Names of values of the recipe that the others leave no use for, and why.
    """

    recipe: Recipe
    settings: Settings
    values: dict[str, Any]
    sources: dict[str, From]
    left_out: dict[str, str]

    def tell(self, screen: Screen) -> None:
        """Say which recipe it is, and in one line what of it was left out."""
        screen.note(f"Recipe {self.recipe.name}: {self.recipe.description}")
        if self.left_out:
            said = ", ".join(f"{_option(name)} ({why})" for name, why in self.left_out.items())
            screen.note(f"Left out of the recipe: {said}")

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON values."""
        return {
            "name": self.recipe.name,
            "values": {
                _field_name(key): {"value": self._as_given(key), "from": source}
                for key, source in self.sources.items()
            },
            "left_out": {_field_name(name): why for name, why in self.left_out.items()},
        }

    def to_table(self) -> Table:
        """Return the values for a terminal."""
        from rich.text import Text

        table = new_table(f"Recipe {self.recipe.name}")
        for column in ("option", "value", "from"):
            table.add_column(column)
        for key, source in self.sources.items():
            why = self.left_out.get(key)
            told = source if why is None else f"{source}; the recipe's is left out: {why}"
            value = in_words(self._as_given(key))
            table.add_row(*(Text(text) for text in (_option(key), value, told)))
        return table

    def _as_given(self, key: str) -> Any:
        found = _OPTIONS.get(key)
        return self.values.get(key) if found is None else plain(getattr(self.settings, found.name))


#: The options that a recipe may decide, by their names in recipes.
_OPTIONS: dict[str, Field[Any]] = {key_of(own): own for own in parameters()}


def _field_name(key: str) -> str:
    return _OPTIONS[key].name if key in _OPTIONS else key


def _option(key: str) -> str:
    """Return how a value is given, or its name where no option gives it."""
    return f"--{_field_name(key).replace('_', '-')}" if key in _OPTIONS else key


def choose(settings: Settings) -> Chosen:
    """Fill what was not given with the values of the recipe, or with defaults.

    Parameters
    ----------
    settings : Settings
        What was given.

    Returns
    -------
    Chosen

    Raises
    ------
    UnknownNameError
        If there is no such recipe, head or backbone.
    InvalidParameterError
        If layers are to be trained, and the recipe's head cannot.
    typer.BadParameter
        If two options contradict each other.
    """
    recipe = find_recipe(settings.recipe)
    settings = _with_augmentation(settings)
    raw = {key: getattr(settings, own.name) for key, own in _OPTIONS.items()}
    given = {key for key, value in raw.items() if value is not None}
    defaults = {key: _read(own, own.metadata["default"]) for key, own in _OPTIONS.items()}
    values = {**defaults, **recipe.values, **{k: _read(_OPTIONS[k], raw[k]) for k in given}}
    _refuse_unknown(values["head"], values["backbone"])
    from fundus.recipes.usable import leave_out

    calibrated = settings.calibrate is not opt.Calibrate.NONE
    # the recipe's own head, though named, brings its parameters with it
    named = {"head"} & given if values["head"] == recipe.values.get("head") else set()
    by_recipe = {*recipe.values} - (given - named)
    values, left_out = leave_out(values, by_recipe, defaults, calibrated=calibrated)
    if values["n_bootstraps"] and not values["cutpoints"]:
        raise typer.BadParameter(
            "it needs --cutpoints, of which resamples give the median.", param_hint="--bootstraps"
        )
    if (
        "distribution" in given
        and values["distribution"] != "empirical"
        and not values["cutpoints"]
    ):
        raise typer.BadParameter(
            "it needs --cutpoints, which are best for it.", param_hint="--distribution"
        )
    filled = {
        own.name: raw[key] if key in given else own.metadata["write"](values[key])
        for key, own in _OPTIONS.items()
    }
    sources: dict[str, From] = {}
    for key in values:
        by = key in by_recipe and key not in left_out
        sources[key] = "option" if key in given else "recipe" if by else "default"
    return Chosen(recipe, replace(settings, **filled), values, sources, left_out)


def _refuse_unknown(head: str, backbone: str) -> None:
    """Raise for a name that nothing has, before scikit-learn is imported."""
    from fundus.plugins.registry import get_registry

    registry = get_registry()
    registry.find("head", head)
    registry.find("backbone", backbone)


def _read(own: Field[Any], value: Any) -> Any:
    return own.metadata["read"](value)


def _with_augmentation(settings: Settings) -> Settings:
    """Read ``--augment`` and ``--no-augment``, which are short for ``--augmentation``."""
    if settings.augment is None:
        return settings
    short = opt.Augmentation.WARP if settings.augment else opt.Augmentation.NONE
    if settings.augmentation not in (None, short):
        raise typer.BadParameter(
            f"it means --augmentation {short.value}. Got --augmentation "
            f"{settings.augmentation.value} beside it: leave one of them out.",
            param_hint="--augment" if settings.augment else "--no-augment",
        )
    return replace(settings, augmentation=short, augment=None)
