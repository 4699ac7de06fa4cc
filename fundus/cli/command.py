"""Commands that are made of the options of `Settings`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Annotated, Any, get_args, get_type_hints

from fundus.cli.settings import Settings, in_words, key_of, parameters
from fundus.recipes.table import DEFAULT, RECIPES


def command(run: Callable[[Settings], Any], *, plan: bool = False) -> Callable[..., None]:
    """Make a command with the options of `Settings`; its help is the docstring of `run`.

    With `plan`, options that only a training needs are left out and keep their defaults.
    """

    def called(**options: Any) -> None:
        run(Settings(**options))

    types = get_type_hints(Settings, include_extras=True)
    types |= {own.name: _or_by_recipe(own, types[own.name]) for own in parameters()}
    arguments = inspect.signature(Settings).parameters
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            arguments[own.name].replace(annotation=types[own.name])
            for own in fields(Settings)
            if not plan or own.metadata.get("plan", True)
        ]
    )
    called.__annotations__ = types
    called.__doc__ = run.__doc__
    return called


def _or_by_recipe(own: Field[Any], kind: Any) -> Any:
    """Return the type of an option that need not be given; its help says what it is then."""
    values, key = RECIPES[DEFAULT].values, key_of(own)
    by_recipe = key in values
    value = own.metadata["write"](values[key]) if by_recipe else own.metadata["default"]
    given, described = get_args(kind)
    described = copy.copy(described)
    known = value is not None and in_words(value)
    described.show_default = f"by recipe: {known}" if by_recipe else known
    return Annotated[given | None, described]
