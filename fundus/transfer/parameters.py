"""The parameters of `TransferClassifier`, checked before any work."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

from sklearn.base import BaseEstimator, clone

from fundus.backbones.pooling import POOL_OVERS
from fundus.exceptions import FundusWarning, warn_caller
from fundus.frozen.settings import FrozenSettings
from fundus.heads.base import Head, NeuralHead
from fundus.heads.sklearn_heads import EstimatorAsHead
from fundus.images.augment import Augmentation
from fundus.parameters import Settings, check_int, check_option, invalid
from fundus.plugins.registry import PRECOMPUTED, get_registry
from fundus.training.settings import TrainingSettings
from fundus.transfer.sampling import SAMPLINGS, make_sampler
from fundus.transfer.view_rows import check_takes_views


def is_precomputed(backbone: Any) -> bool:
    """Whether ``X`` holds 2-D features."""
    return isinstance(backbone, str) and backbone == PRECOMPUTED


def make_head(head: Any, owner: object) -> Head:
    """Return a new, unfitted head for a ``head=`` parameter of an estimator, named in errors.

    Raises
    ------
    UnknownNameError
        If no head has the name.
    InvalidParameterError
        If `head` is no name, Head, classifier or regressor.
    """
    if isinstance(head, str):
        made = get_registry().find("head", head).spec.maker()
        return made if isinstance(made, Head) else EstimatorAsHead(made)
    if isinstance(head, Head):
        return clone(head)
    if isinstance(head, BaseEstimator) and not isinstance(head, type):
        return EstimatorAsHead(clone(head))
    raise invalid(
        owner,
        "head",
        "a registered name, a head object, or a scikit-learn classifier or regressor",
        head,
    )


def with_head_object(head: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Replace a head's name by a head object if arguments of ``set_params`` are for the head.

    Raises
    ------
    UnknownNameError
        If no head has the name.
    """
    head = params.get("head", head)
    if not isinstance(head, str) or not any(name.startswith("head__") for name in params):
        return params
    return {**params, "head": get_registry().find("head", head).spec.maker()}


class WithHead(Protocol):
    """An estimator with a head, such as `TransferClassifier`, before or after it is fitted."""

    head: Any


def _made_head(owner: WithHead) -> Head | None:
    """The head, or None for one that `Parameters.of` will refuse: not when tags are read."""
    try:
        return make_head(owner.head, owner)
    except ValueError:
        return None


def head_assumes_order(owner: WithHead) -> bool:
    """Whether classes without an order are hard for the head, as for every regressor."""
    head = _made_head(owner)
    return head is not None and (head.is_regressor or head.assumes_order)


def has_proba(owner: WithHead) -> bool:
    """Whether a `TransferClassifier` offers ``predict_proba``, before and after it is fitted."""
    if hasattr(owner, "head_"):
        return bool(owner.head_.has_proba)
    head = None if isinstance(owner.head, str) else _made_head(owner)
    if not isinstance(head, EstimatorAsHead) or head.is_regressor:
        return True
    return hasattr(head.estimator, "predict_proba")


@dataclass(frozen=True, kw_only=True)
class SampleSettings(Settings):
    """Parameters of the images that a head trains on, and of their weights."""

    augment: Any
    augment_views: int | None
    class_weight: Any
    sampling: str | None
    duplicates: str

    @property
    def augmentation(self) -> Augmentation | None:
        """The augmentation that `augment` means; True is the default one."""
        if self.augment is None or self.augment is False:
            return None
        if self.augment is True:
            return Augmentation()
        if isinstance(self.augment, Augmentation):
            return self.augment
        raise invalid(self, "augment", "an Augmentation, a bool or None", self.augment)

    @property
    def n_views(self) -> int:
        """Augmented rows that follow each image's own."""
        return self.augment_views or 0

    def check(self) -> None:
        """Raise for the first parameter that cannot be used."""
        check_int(self, "augment_views", low=1, none=True)
        check_option(self, "duplicates", ("error", "allow"))
        check_option(self, "sampling", SAMPLINGS)
        if self.sampling is not None:
            make_sampler(self.sampling, 0)  # raises before any work if it is not installed
        if self.augment_views and self.augmentation is None:
            expected = "an Augmentation or True where augment_views is given"
            raise invalid(self, "augment", expected, self.augment)


@dataclass(frozen=True)
class Parameters:
    """The checked parameters of a `TransferClassifier`, by topic; the head is new and unfitted."""

    head: Head
    frozen: FrozenSettings
    samples: SampleSettings
    training: TrainingSettings

    @classmethod
    def of(cls, classifier: WithHead) -> Parameters:
        """Read the parameters of a classifier, and raise for the first that cannot be used.

        Raises
        ------
        InvalidParameterError
            Worded as in scikit-learn.
        """
        frozen = FrozenSettings.of(classifier)
        samples = SampleSettings.of(classifier)
        training = TrainingSettings.of(classifier)
        training.check()
        samples.check()
        if is_precomputed(frozen.backbone):
            _check_precomputed(frozen, samples)
        read = cls(make_head(classifier.head, classifier), frozen, samples, training)
        if read.head.needs_frozen:
            _check_frozen(read, classifier.head)
        _check_views(read)
        if isinstance(read.head, NeuralHead):
            training.run()  # raises if there is no such optimizer
            if frozen.freeze == "all":
                check_warm_up(training, frozen.freeze)
        else:
            tell_ignored(classifier, classifier.head)
        return read


def check_warm_up(training: TrainingSettings, freeze: Any) -> None:
    """Raise for a warm-up of the head where there is nothing but the head to train."""
    if training.warmup_epochs:
        expected = f"0 where no layer of the backbone is trained (freeze={freeze!r})"
        raise invalid(training, "warmup_epochs", expected, training.warmup_epochs)


def _check_precomputed(frozen: FrozenSettings, samples: SampleSettings) -> None:
    as_they_are = "for backbone='precomputed', which takes features as they are"
    if samples.augmentation is not None:
        raise invalid(samples, "augment", f"None {as_they_are}", samples.augment)
    if frozen.power is not None:
        raise invalid(frozen, "power", f"None {as_they_are}", frozen.power)
    if frozen.freeze != "all":
        raise invalid(frozen, "freeze", f"'all' {as_they_are}", frozen.freeze)
    check_option(frozen, "pool_over", POOL_OVERS)
    if frozen.pool_over == "fov":
        raise invalid(frozen, "pool_over", f"'auto' or 'all' {as_they_are}", frozen.pool_over)
    if frozen.stages is not None:
        raise invalid(frozen, "stages", f"None {as_they_are}", frozen.stages)


def _check_frozen(read: Parameters, head: Any) -> None:
    if read.frozen.freeze != "all":
        expected = f"'all' for the head {head!r}, which cannot train a backbone"
        raise invalid(read.frozen, "freeze", expected, read.frozen.freeze)
    if read.samples.augmentation is not None and not read.samples.augment_views:
        expected = (
            f"None for the head {head!r}, which is fitted once, unless augment_views says "
            "how many augmented views of each image it is fitted on"
        )
        raise invalid(read.samples, "augment", expected, read.samples.augment)


def _check_views(read: Parameters) -> None:
    head, n_views = read.head, read.samples.n_views
    strength = getattr(head, "view_strength", 0)
    if strength != 0 and n_views == 0:
        expected = "0 unless augment_views gives views, among which it compares features"
        raise invalid(head, "view_strength", expected, strength)
    if isinstance(head, EstimatorAsHead):  # others are known when they are fitted
        check_takes_views(head.estimator, n_views)


#: Parameters of a training with Keras, which a scikit-learn head ignores.
OF_NEURAL_HEADS = (
    "optimizer", "loss", "learning_rate", "batch_size", "epochs", "warmup_epochs",
    "validation_fraction", "patience", "callbacks", "log_dir",
)  # fmt: skip

_told: set[tuple[str, ...]] = set()


def tell_ignored(classifier: object, head: Any) -> None:
    """Warn, once in a process, of a classifier's parameters that its scikit-learn head ignores.

    Warns
    -----
    FundusWarning
        If one of them is not the default. A search does not repeat the same warning.
    """
    defaults = inspect.signature(type(classifier)).parameters
    ignored = tuple(
        name
        for name in OF_NEURAL_HEADS
        if (getattr(classifier, name) or None) != (defaults[name].default or None)
    )
    if not ignored or ignored in _told:
        return
    _told.add(ignored)
    warn_caller(
        f"The head {head!r} is fitted by scikit-learn and ignores {', '.join(ignored)}: leave out "
        "parameters of neural heads.",
        FundusWarning,
    )
