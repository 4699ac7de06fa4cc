"""`AugmentationDisplay`: photographs beside the changed views that a model is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images, as_images
from fundus.exceptions import DataError
from fundus.frozen.views import with_views
from fundus.images import ImageRecipe
from fundus.images.augment import Augmentation
from fundus.parameters import invalid
from fundus.reporting.displays.as_seen import name_of, reader_of
from fundus.reporting.displays.contact_sheet import ContactSheetDisplay
from fundus.reporting.displays.thumbnails import EDGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class AugmentationDisplay:
    """Photographs beside changed views of them, as the network sees both.

    Make it with `from_estimator` or, before anything is fitted, with `from_augmentation`.

    Parameters
    ----------
    views : list of list of ndarray of uint8, shape (size, size, 3)
        For each photograph, itself and its views: RGB, 0–255.
    names : list of str
        What the photographs are called.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that hold all pictures.
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.
    pictures_ : list of list of AxesImage
        For each photograph.

    See Also
    --------
    PreprocessingDisplay : The steps before the network, one by one.
    degradations : One kind of change at a time, at three strengths.

    Examples
    --------
    >>> X = np.random.default_rng(0).integers(0, 255, (1, 40, 48, 3), dtype=np.uint8)
    >>> display = AugmentationDisplay.from_augmentation(Augmentation.cameras(), X, n_views=3)
    >>> [len(row) for row in display.pictures_]
    [4]
    """

    def __init__(self, views: list[list[NDArray[np.uint8]]], names: list[str]) -> None:
        self.views = views
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_views: int = 4,
        random_state: int = 0,
        ax: Axes | None = None,
    ) -> Self:
        """Draw views as a fitted estimator was trained on.

        They have its crop and size, and its step of light and colour, if there is one, follows.

        Parameters
        ----------
        estimator : TransferClassifier, or what holds one
            Fitted, with ``augment``; of an ensemble the first model.
        X : images
            A few.
        n_views : int, default=4
            Views of each.
        random_state : int, default=0
            Their seed. They also depend on the pixels of the photograph, as those of the training.
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Raises
        ------
        DataError
            If the estimator reads no photographs, or does not change them.
        ImageReadError
            If a photograph cannot be read.
        """
        reader = reader_of(estimator)
        augment = getattr(reader, "augment", None)
        if augment is None or augment is False:
            raise DataError(
                f"{type(reader).__name__} was trained on photographs as they are: fit it with "
                "'augment', or draw an Augmentation with from_augmentation."
            )
        augmentation = Augmentation() if augment is True else augment
        frozen = reader.frozen_
        step = frozen.normaliser.photometric
        after = None if step is None else step.apply
        return cls._drawn(augmentation, X, frozen.recipe, n_views, random_state, after, ax)

    @classmethod
    def from_augmentation(
        cls,
        augmentation: Augmentation,
        X: Any,
        *,
        image_size: int = EDGE,
        n_views: int = 4,
        random_state: int = 0,
        ax: Axes | None = None,
    ) -> Self:
        """Draw views of photographs, cropped to the field of view.

        Parameters
        ----------
        augmentation : Augmentation
        X : images
            A few.
        image_size : int, default=352
            Edge of the squares, in pixels.
        n_views : int, default=4
            Views of each.
        random_state : int, default=0
            Their seed.
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Raises
        ------
        InvalidParameterError
            If a parameter lies outside what it accepts.
        ImageReadError
            If a photograph cannot be read.
        """
        if not isinstance(augmentation, Augmentation):
            raise invalid("AugmentationDisplay", "augmentation", "an Augmentation", augmentation)
        recipe = ImageRecipe(image_size)
        return cls._drawn(augmentation, X, recipe, n_views, random_state, None, ax)

    @classmethod
    def _drawn(
        cls,
        augmentation: Augmentation,
        X: Any,
        recipe: ImageRecipe,
        n_views: int,
        random_state: int,
        after: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None,
        ax: Axes | None,
    ) -> Self:
        for name, value, low in (("n_views", n_views, 1), ("random_state", random_state, 0)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
                expected = f"an int in the range [{low}, inf)"
                raise invalid("AugmentationDisplay", name, expected, value)
        augmentation.validate()
        images: Images = as_images(X)
        rows = with_views(images, augmentation, int(random_state), n_views)
        made = np.stack([rows.picture(row, recipe) for row in range(len(rows))])
        made = made if after is None else after(made)
        each = made.reshape(len(images), n_views + 1, *made.shape[1:])
        return cls(
            [[*views] for views in each], [name_of(images, k) for k in range(len(each))]
        ).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a row for each photograph: itself, then its views.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Returns
        -------
        AugmentationDisplay
            Itself, with `ax_`, `figure_` and `pictures_`.
        """
        n = len(self.views[0])
        captions = [
            f"photograph\n{name}" if k == 0 else f"view {k}"
            for name in self.names
            for k in range(n)
        ]
        sheet = ContactSheetDisplay(
            [picture for row in self.views for picture in row],
            captions,
            title="Augmented views, as the network sees them",
            columns=n,
        ).plot(ax)
        self.ax_, self.figure_ = sheet.ax_, sheet.figure_
        drawn = [cell[0] for cell in sheet.pictures_]
        self.pictures_ = [drawn[start : start + n] for start in range(0, len(drawn), n)]
        return self
