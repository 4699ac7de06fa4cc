"""`PreprocessingDisplay`: photographs beside what each step makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images, as_images
from fundus.frozen.function import Frozen
from fundus.images.aperture import field_of_view
from fundus.reporting.displays.as_seen import called, name_of, reader_of, small
from fundus.reporting.displays.contact_sheet import ContactSheetDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Where pixels are not pooled, RGB; it occurs in no eye.
_OUTSIDE = (86, 180, 233)
_POOLED = "what is pooled"


class PreprocessingDisplay:
    """Photographs beside what each step of preprocessing makes of them, as the network sees them.

    Make it with `from_estimator`, which also draws it.

    Parameters
    ----------
    steps : list of list of ndarray of uint8, shape (height, width, 3)
        For each photograph, its pictures in order: RGB, 0–255.
    names : list of list of str
        What stands below each of them.

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
    AugmentationDisplay : Views that a model is trained on.

    Examples
    --------
    >>> from fundus import FeatureExtractor
    >>> X = np.random.default_rng(0).integers(0, 255, (2, 40, 48, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("tiny", weights="fixed", photometric="green", cache=False)
    >>> display = PreprocessingDisplay.from_estimator(extractor.fit(X), X)
    >>> [name.split("\\n")[0] for name in display.names[0]]
    ['photograph', 'cropped and resized', 'green', 'what is pooled', "the network's input"]
    """

    def __init__(self, steps: list[list[NDArray[np.uint8]]], names: list[list[str]]) -> None:
        self.steps = steps
        self.names = names

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Axes | None = None) -> Self:
        """Take photographs through the steps of a fitted estimator and draw them.

        These are the photograph; it cropped and resized; after the step of light and colour, if
        there is one; what of it is pooled, where that is the field of view alone; and the network's
        input, whose values are spread from black to white, in the channels that it has.

        Parameters
        ----------
        estimator : TransferClassifier, FeatureExtractor, or what holds one
            Fitted. Of an ensemble the first model's steps are drawn, which differ from others' only
            where a step was fitted on training images.
        X : images
            A few.
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Raises
        ------
        DataError
            If the estimator reads no photographs.
        ImageReadError
            If one cannot be read.
        """
        frozen, images = reader_of(estimator).frozen_, as_images(X)
        found = [_steps(frozen, images, row) for row in range(len(images))]
        return cls(
            [[picture for picture, _ in steps] for steps in found],
            [[name for _, name in steps] for steps in found],
        ).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a row for each photograph.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Returns
        -------
        PreprocessingDisplay
            Itself, with `ax_`, `figure_` and `pictures_`.
        """
        pooled = any(name.startswith(_POOLED) for name in self.names[0])
        sheet = ContactSheetDisplay(
            [picture for row in self.steps for picture in row],
            [name for row in self.names for name in row],
            title="Preprocessing, step by step",
            note="Blue: outside the field of view, and not pooled." if pooled else "",
            columns=len(self.steps[0]),
        ).plot(ax)
        self.ax_, self.figure_ = sheet.ax_, sheet.figure_
        drawn, n = [cell[0] for cell in sheet.pictures_], len(self.steps[0])
        self.pictures_ = [drawn[start : start + n] for start in range(0, len(drawn), n)]
        return self


def _steps(frozen: Frozen, images: Images, row: int) -> list[tuple[NDArray[np.uint8], str]]:
    """The pictures of a photograph, each with what is written below it."""
    recipe, normaliser = frozen.recipe, frozen.normaliser
    whole, square = small(images, row), images.picture(row, recipe)
    how = {"fov": "cropped and resized", "square": "padded and resized", None: "resized"}
    size = f"{recipe.image_size} x {recipe.image_size} pixels"
    if recipe.aperture is not None:
        size = f"{size}, in a {recipe.aperture}"
    found = [
        (whole, f"photograph\n{name_of(images, row)}"),
        (square, f"{how[recipe.crop]}\n{size}"),
    ]
    seen = square
    if normaliser.photometric is not None:
        seen = normaliser.photometric.apply(square[None])[0]
        found.append((seen, f"{called(normaliser.photometric.function)}\nlight and colour"))
    if frozen.pools_fov:
        mask = field_of_view(square[None])[0]
        pooled = np.where(mask[..., None], seen, np.array(_OUTSIDE, np.uint8)).astype(np.uint8)
        found.append((pooled, f"{_POOLED}\n{100 * mask.mean():.0f} % of the picture"))
    values = normaliser.apply(square[None])[0]
    low, high = float(values.min()), float(values.max())
    grey = (values - low) / (high - low) if high > low else np.zeros_like(values)
    found.append(
        (
            (grey * 255 + 0.5).astype(np.uint8),
            f"the network's input\n{called(normaliser.function)}: {low:.3g} to {high:.3g}",
        )
    )
    return found
