"""The recipes: values of a grader's parameters, each written once, for Python and the command line.

Names are the parameters of `TransferClassifier`; ``head__…`` those of the head; ``augment`` is one
of `AUGMENTATIONS`; ``cutpoints`` says whether `TunedCutpointClassifierCV` goes around it, with
``distribution`` and ``n_bootstraps``. What a recipe does not name has the default of the estimator
or the option.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fundus.exceptions import UnknownNameError

#: What ``augment`` may be: no change, ``Augmentation()``, or ``Augmentation.cameras()``.
AUGMENTATIONS = ("none", "warp", "cameras")


@dataclass(frozen=True)
class Recipe:
    """A set of values.

    Parameters
    ----------
    name : str
    description : str
        One line.
    values : mapping of str to object
        Values by parameter; see above.
    """

    name: str
    description: str
    values: Mapping[str, Any]


#: Folds inside a fold, of cutpoints and, by default, of calibration.
INNER_FOLDS = 5

#: The recipe of `make_grader`, and of ``fundus train`` unless ``--recipe`` says otherwise.
DEFAULT = "default"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            DEFAULT,
            "stages of a small network, views as of other cameras, ridge, smooth cutpoints",
            {
                "backbone": "efficientnet_lite0",
                "head": "ridge",
                "image_size": 320,
                "pooling": "multilevel_std",
                "pool_over": "fov",
                "stages": slice(1, None),
                "power": 0.5,
                "augment": "cameras",
                "augment_views": 4,
                "head__alpha": 150.0,
                "head__view_strength": 8.0,
                "class_weight": None,
                "cutpoints": True,
                "distribution": "normal",
            },
        ),
        Recipe(
            "chapter",
            "the book chapter's training, most of InceptionV3 included",
            {
                "backbone": "inception_v3",
                "head": "softmax",
                "image_size": 224,
                "crop": None,
                "freeze": 30,
                "pooling": "avg",
                "pool_over": "all",
                "augment": "warp",
                "class_weight": "inverse_frequency",
                "learning_rate": 1e-4,
                "batch_size": 16,
                "epochs": 40,
                "cutpoints": False,
            },
        ),
        Recipe(
            "fast",
            "one pass of a small network, at its own size, and a softmax",
            {
                "backbone": "efficientnet_lite0",
                "head": "softmax",
                "image_size": None,  # the backbone's own
                "pooling": "avg",
                "pool_over": "all",
                "augment": "none",
                "class_weight": "balanced",
                "cutpoints": False,
            },
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    Raises
    ------
    UnknownNameError
        If there is none.

    Examples
    --------
    >>> find_recipe("fast").values["head"]
    'softmax'
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(str(name).lower(), RECIPES, n=1)
    rest = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(RECIPES)}."
    raise UnknownNameError(f"There is no recipe called {name!r}. {rest}")
