"""The ``save`` method of the estimators."""

from __future__ import annotations

import os


class Saves:
    """Adds ``save`` to an estimator that `fundus.saving.models` knows."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model into a folder, without pickle; see `fundus.load`.

        Parameters
        ----------
        path : path
            A folder that does not exist yet, or an empty one.

        Raises
        ------
        BundleError
            If the folder has files in it, the model is not fitted, or it holds something that only
            code could rebuild.
        """
        from fundus.saving.bundle import save

        save(self, path)
