"""Training a neural head, and the error of its severities."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.network import Network
from fundus.exceptions import DataWarning
from fundus.frozen.rest import features_of_all_layers
from fundus.frozen.sources import ArraySource, LiveSource, StoredSource
from fundus.heads.base import NeuralHead
from fundus.runtime.keras_settings import dtype_policy
from fundus.runtime.tensorflow import require_tensorflow
from fundus.training.fitted import FittedHead
from fundus.training.optimizers import only_sets_the_rate
from fundus.training.tail import Tail, Training
from fundus.transfer.residuals import (
    FEWEST_HELD_OUT,
    Rows,
    residual_std,
    std_of_inner_folds,
    units_of,
)
from fundus.transfer.sampling import Samples
from fundus.transfer.unlearned import tell_if_unlearned
from fundus.transfer.validation_split import inner_split

if TYPE_CHECKING:
    from fundus.training.trainer import TrainedNet


def fit_net(
    head: NeuralHead,
    samples: Samples,
    network: Network | None,
    training: Training,
    validation_fraction: float,
) -> FittedHead:
    """Train a neural head, and the layers after the cut where there are any.

    Parameters
    ----------
    network : Network or None
        The backbone, where layers of it are trained.
    validation_fraction : float
        Share of the images that are held out for early stopping.

    Warns
    -----
    DataWarning
        If no image can be held out.
    UnlearnedWarning
        If the training ended no better than a constant prediction.
    """
    width = samples.source.batch(np.array([0]), None)[0].shape[1] if network is None else None
    tail = Tail(head, len(samples.grades.scale), width, network, dtype_policy())
    fit = _Fit(samples, tail, training, validation_fraction)
    images, held_out = fit.split(np.arange(len(samples)))
    if held_out is None and validation_fraction > 0:
        warnings.warn(
            f"With validation_fraction={validation_fraction} of {len(samples)} rows "
            "no row can be held out without losing a grade, so early stopping watches the "
            "training loss.",
            DataWarning,
            stacklevel=4,
        )
    trained = fit.train(training, images, held_out)
    tell_if_unlearned(head, trained, samples, images, training, trains_backbone=network is not None)
    if not head.is_regressor:
        return trained
    return replace(trained, residual_std=fit.std(trained, images, held_out))


def _one_after_the_other(
    first: dict[str, list[float]], then: dict[str, list[float]]
) -> dict[str, list[float]]:
    """Join what was logged in two trainings; a rate that only one of them logs is left out."""
    return {name: first[name] + then[name] for name in then if name in first}


@dataclass(frozen=True)
class _Fit:
    """Trains a head on its images, and again on parts of them to measure its error."""

    samples: Samples
    tail: Tail
    training: Training
    validation_fraction: float

    def split(self, images: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
        """Images to train on, and those held out for early stopping."""
        samples = self.samples
        groups = None if samples.groups is None else samples.groups[images]
        positions = samples.grades.positions[images]
        part, held_out = inner_split(positions, groups, self.validation_fraction, samples.seed)
        return images[part], None if held_out is None else images[held_out]

    def train(
        self, training: Training, images: NDArray[np.intp], watched: NDArray[np.intp] | None
    ) -> TrainedNet:
        """Train on a view of each image an epoch; monitor the loss of the others, without views."""
        require_tensorflow()  # before the module of the training, which imports Keras
        from fundus.training.trainer import train_net

        samples = self.samples
        each = samples.n_views + 1
        drawn, weights = samples.drawn(images)
        rows: tuple[Any, ...] = (
            drawn * each,
            np.repeat(samples.grades.positions, each),
            None if weights is None else np.repeat(weights, each),
            None if watched is None else watched * each,
        )
        n_views = samples.n_views
        if training.head_first is None:
            return train_net(self.tail, training, samples.source, *rows, n_views=n_views)
        features = self.features
        tail = replace(self.tail, n_features=features.features.shape[1], network=None)
        head = train_net(tail, training.head_alone(), features, *rows, n_views=n_views)
        after, start = training.after_head(len(drawn)), head.weights()
        net = train_net(self.tail, after, samples.source, *rows, n_views=n_views, start=start)
        net.trainer.history_ = _one_after_the_other(head.history, net.history)
        return net

    @cached_property
    def features(self) -> ArraySource:
        """Features of the whole network for all rows, before any layer is trained."""
        source = self.samples.source
        assert isinstance(source, (StoredSource, LiveSource))  # as layers of it are trained
        return features_of_all_layers(source)

    def severity(self, net: FittedHead, images: NDArray[np.intp]) -> NDArray[np.float64]:
        """Outputs of a network for images, without their views."""
        return net.outputs(Rows(self.samples.source, self.samples.own_rows[images]))

    def severity_without(
        self, images: NDArray[np.intp], left_out: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Outputs for some images of a network that is trained on others."""
        # the caller's other callbacks and log are only for the network that is kept
        rates = tuple(filter(only_sets_the_rate, self.training.callbacks))
        quiet = replace(self.training, callbacks=rates, log_dir=None, verbose=0)
        return self.severity(self.train(quiet, *self.split(images)), left_out)

    def std(
        self, trained: FittedHead, images: NDArray[np.intp], held_out: NDArray[np.intp] | None
    ) -> float:
        """Root mean square of a regressor's residuals on images that it was not trained on."""
        samples, positions = self.samples, self.samples.grades.positions
        weights = samples.sample_weight
        units = units_of(samples.groups, samples.source, samples.own_rows)
        unseen = np.array([], dtype=np.intp)
        if held_out is not None:
            unseen = held_out[~np.isin(units[held_out], units[images])]
        if len(np.unique(units[unseen])) >= FEWEST_HELD_OUT:
            # early stopping only chose the epoch by the loss of these images
            part = None if weights is None else weights[unseen]
            std = residual_std(self.severity(trained, unseen), positions[unseen], part)
            if std is not None:
                return std
        return std_of_inner_folds(self.severity_without, units, positions, weights, samples.seed)
