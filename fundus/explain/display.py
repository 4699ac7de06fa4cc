"""`SaliencyDisplay`: photographs with the maps of an `Explanation`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fundus.exceptions import DataError
from fundus.explain.explanation import Explanation
from fundus.explain.models import explain_images
from fundus.explain.overlay import LOWERS, RAISES, coloured
from fundus.runtime.figures import as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Photographs are drawn with this longest side, in pixels: a figure shows no more.
LONGEST = 900


class SaliencyDisplay:
    """Where on photographs a model sees what it grades by.

    Make it with `from_estimator`, or of an `Explanation`; orange raises what is explained, blue
    lowers it.

    Parameters
    ----------
    explanation : Explanation

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the first map.
    axes_ : ndarray of Axes, shape (n_photographs, n_panels)
        Of each photograph: itself, its map and, for ensembles, how far its models disagree. Only
        the map where axes were given.
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.

    Examples
    --------
    >>> from fundus import TransferClassifier
    >>> X = np.random.default_rng(0).integers(0, 255, (8, 40, 48, 3), dtype=np.uint8)
    >>> model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False)
    >>> model = model.fit(X, [0, 1, 2, 3] * 2)
    >>> SaliencyDisplay.from_estimator(model, X[:2]).axes_.shape
    (2, 2)
    """

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        grade: Hashable | None = None,
        method: str = "auto",
        ax: Axes | None = None,
    ) -> SaliencyDisplay:
        """Explain photographs and draw their maps.

        Parameters
        ----------
        estimator : classifier or regressor
            Fitted.
        X : images
            What it predicts from.
        grade : label, default=None
            One of its grades, to map the evidence for it instead of the severity.
        method : {"auto", "exact", "hirescam", "occlusion"}, default="auto"
            See ``TransferClassifier.explain``.
        ax : matplotlib.axes.Axes, default=None
            For the map of a single photograph; by default those of a new figure.

        Returns
        -------
        SaliencyDisplay
        """
        return cls(explain_images(estimator, X, grade=grade, method=method)).plot(ax)

    @as_written
    def plot(self, ax: Axes | None = None, *, rows: Sequence[int] | None = None) -> SaliencyDisplay:
        """Draw photographs and their maps.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            For the map of a single photograph; by default those of a new figure.
        rows : sequence of int, default=None
            Which photographs; by default all.

        Returns
        -------
        SaliencyDisplay
            Itself, with `ax_`, `axes_` and `figure_`.

        Raises
        ------
        DataError
            If axes are given for several photographs, or no photograph is left.
        """
        chosen = list(range(len(self.explanation)) if rows is None else rows)
        if not chosen or (ax is not None and len(chosen) > 1):
            raise DataError(
                f"Axes hold one photograph, and a figure at least one. Got {len(chosen)}: "
                "pass rows=[0], or leave 'ax' out for several."
            )
        if ax is not None:
            self._draw(chosen[0], np.array([ax]))
            self.axes_, self.ax_, self.figure_ = np.array([[ax]]), ax, ax.figure
            return self
        panels = 3 if self.explanation.n_members > 1 else 2
        figure = _figure(len(chosen), panels)
        self.axes_ = figure.subplots(len(chosen), panels, squeeze=False)
        for row, axes in zip(chosen, self.axes_, strict=True):
            self._draw(row, axes)
        titles = ("photograph", f"map of the {self.explanation.of}", "where the models disagree")
        for title, axes in zip(titles, self.axes_[0], strict=False):
            axes.set_title(title, fontsize=11)
        self.ax_, self.figure_ = self.axes_[0, 1], figure
        return self

    def _draw(self, row: int, axes: Any) -> None:
        found = self.explanation
        photograph, pictures = found.photograph(row), []
        values = found.map(row)
        if len(axes) > 1:
            pictures.append(photograph)
        pictures.append(coloured(photograph, values))
        if len(axes) > 2:
            pictures.append(coloured(photograph, found.disagreement(row), disagreement=True))
        for panel, picture in zip(axes, pictures, strict=True):
            step = max(1, max(picture.shape[:2]) // LONGEST)
            panel.imshow(picture[::step, ::step], interpolation="antialiased")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
        raised, lowered = values[values > 0].sum(), values[values < 0].sum()
        shown = axes[1] if len(axes) > 1 else axes[0]
        shown.set_xlabel(
            f"{found.of} {found.value[row]:.2f} = {found.bias[row]:.2f} "
            f"+ {raised:.2f} − {-lowered:.2f}",  # noqa: RUF001 - a minus sign
            fontsize=9,
        )
        if len(axes) > 1:
            paths = found.images.paths
            name = f"row {row}" if paths is None else Path(paths[row]).name
            axes[0].set_xlabel(f"{name}, severity {found.severity[row]:.2f}", fontsize=9)


def _figure(n_rows: int, panels: int) -> Any:
    """A figure without pyplot, with a line below that says what the colours mean."""
    from matplotlib.patches import Patch

    figure = new_figure(3.6 * panels, 3.7 * n_rows + 0.4)
    key = [Patch(color=RAISES, label="raises it"), Patch(color=LOWERS, label="lowers it")]
    figure.legend(handles=key, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    return figure
