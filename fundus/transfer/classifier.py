"""`TransferClassifier`: a backbone and a head as one scikit-learn classifier of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import _check_sample_weight, validate_data

from fundus.data.inputs import Images, as_images
from fundus.frozen.prepare import draw_seed
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.sources import ArraySource, Source
from fundus.grades.labels import read_grades, read_labels, to_positions
from fundus.grades.patients import read_patients
from fundus.heads.base import NeuralHead
from fundus.parameters import invalid
from fundus.runtime.searches import Called, as_a_fit_of_a_search
from fundus.transfer.copies import Copied
from fundus.transfer.former import only_former, without_former
from fundus.transfer.inputs import plan_fit, prediction_source
from fundus.transfer.parameters import (
    Parameters,
    head_assumes_order,
    is_precomputed,
)
from fundus.transfer.plan import Plan
from fundus.transfer.prediction import Predicts
from fundus.transfer.saved import SavesClassifier
from fundus.transfer.steps import check_duplicates, fit_parts


@without_former
class TransferClassifier(Copied, SavesClassifier, Predicts, Called, ClassifierMixin, BaseEstimator):
    """Grade images with a pretrained backbone and a head.

    The frozen layers of the backbone run once per image and their results are kept; only the
    trained part runs again, for every fold and candidate. Parameters of earlier releases (`beta_1`,
    `beta_2`, `epsilon`, `lr_factor`, `lr_patience`, `min_learning_rate`) work for one more.

    Parameters
    ----------
    backbone : str or BackboneSpec, default="efficientnet_lite0"
        Registered name (see `list_backbones`), ``"precomputed"`` where ``X`` holds 2-D features, or
        a record such as `BackboneSpec.from_model` makes of a Keras model.
    head : str, Head, classifier or regressor, default="softmax"
        Registered name (see `list_heads`), a head object, or any scikit-learn estimator; its
        parameters are set and searched as ``head__C``, for a name too.
    grades : int or sequence, default=None
        The scale: its length, or its labels, lowest first. ``None`` is the order of the categories
        where ``y`` is a pandas Categorical (one without rows is a grade without images), else the
        sorted labels of ``y``, with a warning if they are more than two names. Meta-estimators
        that encode labels, such as `sklearn.ensemble.VotingClassifier`, need them encoded in
        order first.
    weights : str, path or None, default="imagenet"
        Pretrained weights, a file, or ``None`` for random ones (seeded by `random_state`).
    freeze : "all", int, float or str, default="all"
        Initial layers that are not trained: all, the first n (counting the input layer), a
        fraction, those up to a named layer, or 0.
    image_size : int, default=None
        Edge of the square input, in pixels; ``None`` is the backbone's own.
    crop : {"fov", "square"} or None, default="fov"
        Crop to the field of view, pad to a square, or squash.
    aperture : {"circle"} or None, default=None
        "circle" keeps the largest disc in the middle of the field of view and blackens the rest,
        so that all cameras show the same border; needs ``crop="fov"``.
    photometric : str, callable or None, default=None
        Step that changes the light and colour of the square picture, before it is scaled for the
        network: "ben_graham", "clahe", "corpus_mean", "green", "grey_world", "image_mean", one of a
        plugin (see `list_preprocessors`), or a function of uint8 RGB images (n, height, width, 3)
        that returns uint8 ones.
    normalise : str or callable, default="backbone"
        The scale; by default the one the backbone was trained with. For weights that were trained
        with another one, its name, or a function of uint8 RGB images that returns float32.
    pooling : str, default="avg"
        How feature maps become a vector: "avg", "max", "avg+max", "gem" (generalised mean), "std"
        (standard deviation) or "flatten" of the last one; "multilevel", "multilevel_max",
        "multilevel_avg+max" or "multilevel_std" of every stage of the network, which needs
        ``freeze="all"``.
    pool_over : {"auto", "fov", "all"}, default="auto"
        Positions of a map that are pooled: "fov" weighs each by the share of it in the field of
        view, and needs ``freeze="all"``; of tokens it takes the patches. "auto" is "fov" for frozen
        networks whose maps have a height and a width; ``plan_`` says which.
    stages : slice, int, str or sequence of int and str, default=None
        Stages of a multilevel pooling, by number or the name of their last layer; None is all.
    power : float or None, default=None
        Exponent in (0, 1] of the features' absolute values, their signs kept; 0.5 is the signed
        square root. Needs ``freeze="all"``.
    augment : Augmentation, bool or None, default=None
        Random warps of training images, new in every epoch; True is ``Augmentation()``.
    augment_views : int or None, default=None
        Number of fixed warps per training image instead, made once and kept; the only form that
        heads on frozen features can use. An image and its warps share its weight, so that ``C`` and
        ``alpha`` mean the same for any number; a scikit-learn head must take ``sample_weight``. A
        neural head is trained on one of them in each epoch, drawn at random; images held out for
        early stopping are not warped.
    class_weight : dict, "balanced", "inverse_frequency" or None, default="balanced"
        Weight of each grade in training. A dict's keys are labels; a missing label has
        weight 1, and is an error if a key is not a label of ``y`` or the scale.
    sampling : {"over", "under"} or None, default=None
        Training images are drawn at random so that every grade has as many as the most frequent
        one, or the rarest; ``class_weight`` then counts the images that were drawn. Images held
        out for early stopping are not drawn. Needs imbalanced-learn.
    optimizer : str, keras.optimizers.Optimizer or dict, default="adam"
        A name that Keras knows; "adam" is Adam(beta_1=0.9, beta_2=0.999, epsilon=1e-8). Or an
        optimizer with its own learning rate, a number or any schedule of Keras; or its
        configuration, ``{"class_name": "SGD", "config": {"momentum": 0.9}}``. Each fit builds a new
        one from its configuration, which copies of this estimator hold, and does not change the one
        that was given. To be copied and
        searched, your own class must be registered with
        `keras.saving.register_keras_serializable`; to be saved, an optimizer must be from Keras.
    loss : str, keras.losses.Loss, callable or dict, default=None
        Loss of the head's targets and outputs, as Keras takes it; ``None`` is the head's own.
    learning_rate : float or "auto", default="auto"
        For an `optimizer` without its own rate. "auto" is Keras's default for that optimizer,
        1e-3 for Adam; a hundredth of it where layers of the backbone are trained, or a tenth
        after `warmup_epochs`, in which the head has Keras's default or the optimizer's own.
    batch_size : int, default=16
        Images per training step.
    epochs : int, default=40
        Maximum number of passes over the training images.
    warmup_epochs : int, default=0
        Where layers of the backbone are trained, so many of the `epochs` train the head alone
        first, on the features of the whole network, which are kept. The layers then learn with it
        gently: batch normalisations stay as they are; the learning rate rises from 0 and falls to 0
        on a cosine, and is lower for lower layers, down to a tenth; and unless training stops
        early, the weights of the last quarter of the epochs are averaged. `log_dir` and `callbacks`
        are for these epochs; an optimizer's schedule, or a callback that sets the rate, replaces
        the cosine.
    validation_fraction : float, default=0.1
        Share of the training images held out for early stopping; stratified, and by patient where
        ``X`` is a frame with patients or `groups` are given. A regressor's probabilities are made
        from its residuals on them; if there are fewer than 10, its network is trained three
        more times, on two thirds of the images each.
    patience : int or None, default=10
        Epochs without a better loss before training stops and the best weights are restored.
    callbacks : keras.callbacks.Callback or sequence of them, default=None
        More callbacks; each fit uses copies. If none of them sets the learning rate, and the
        optimizer has no schedule, ``ReduceLROnPlateau(factor=0.5, patience=3, min_lr=1e-6)`` does;
        a `ReduceLROnPlateau` or `LearningRateScheduler` replaces it.
    log_dir : path, default=None
        Folder in which each fit makes a folder with ``log.csv`` and ``best.weights.h5``.
    duplicates : {"error", "allow"}, default="error"
        Whether ``X`` may contain a file twice, as after over-sampling.
    cache : bool, path or Cache, default=True
        Where results of frozen layers are kept; ``False`` keeps none.
    n_jobs : int, default=None
        Decoding threads; ``None`` and -1 mean one per processor.
    random_state : int, RandomState or None, default=None
        Seed of all random choices.
    verbose : int, default=0
        1 shows progress, and the plan; a search shows one plan, see `one_search`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted.
    grades_ : ndarray, shape (n_grades,)
        The scale.
    head_ : FittedHead
        The trained head. ``head_.residual_std`` is the root mean square, in positions, of a
        regressor's residuals on images it was fitted without; it is the width of its probabilities.
    history_ : dict of str to list of float
        Losses by epoch, and the learning rate where a callback sets it; neural heads only.
    frozen_ : Frozen
        The frozen part of the backbone; not for precomputed features.
    plan_ : Plan
        Which results of frozen layers were kept, and why; not for precomputed features.
    log_dir_ : str or None
        Folder of this fit's log.
    n_features_in_ : int
        Width of precomputed features.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    >>> model = TransferClassifier("tiny", "logistic", weights="fixed", cache=False)
    >>> model.fit(X, [0, 1] * 4).predict_proba(X).shape
    (8, 2)
    """

    # groups are for the inner validation split; requested, so that metadata routing passes them
    __metadata_request__fit = {"groups": True}  # noqa: RUF012 - how scikit-learn reads it

    def __init__(
        self,
        backbone: Any = "efficientnet_lite0",
        head: Any = "softmax",
        *,
        grades: Any = None,
        weights: Any = "imagenet",
        freeze: Any = "all",
        image_size: int | None = None,
        crop: str | None = "fov",
        aperture: str | None = None,
        photometric: Any = None,
        normalise: Any = "backbone",
        pooling: str = "avg",
        pool_over: str = "auto",
        stages: Any = None,
        power: float | None = None,
        augment: Any = None,
        augment_views: int | None = None,
        class_weight: Any = "balanced",
        sampling: str | None = None,
        optimizer: Any = "adam",
        loss: Any = None,
        learning_rate: Any = "auto",
        batch_size: int = 16,
        epochs: int = 40,
        warmup_epochs: int = 0,
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        callbacks: Any = None,
        log_dir: Any = None,
        duplicates: str = "error",
        cache: Any = True,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        **former: Any,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.grades = grades
        self.weights = weights
        self.freeze = freeze
        self.image_size = image_size
        self.crop = crop
        self.aperture = aperture
        self.photometric = photometric
        self.normalise = normalise
        self.pooling = pooling
        self.pool_over = pool_over
        self.stages = stages
        self.power = power
        self.augment = augment
        self.augment_views = augment_views
        self.class_weight = class_weight
        self.sampling = sampling
        self.optimizer = optimizer
        self.loss = loss
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callbacks = callbacks
        self.log_dir = log_dir
        self.duplicates = duplicates
        self.cache = cache
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        if former:
            self.set_params(**only_former(former))

    @as_a_fit_of_a_search
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> TransferClassifier:
        """Train on graded images.

        Parameters
        ----------
        X : images
            Paths, a frame with a ``path`` and optionally a ``patient`` column, uint8 RGB arrays
            (n, height, width, 3), or a list of images in memory: Pillow images, bytes of files, or
            uint8 RGB arrays of any sizes. A column, shape (n, 1), of any of these works too. 2-D
            float features for ``backbone="precomputed"``.
        y : array-like, shape (n_samples,)
            Grades; a pandas Categorical brings their order.
        sample_weight : array-like of float, shape (n_samples,), default=None
        groups : array-like, shape (n_samples,), default=None
            Patients, for the inner validation split; by default those of the frame.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter cannot be used, such as class weights for a key that is not a label.
        InvalidGradeError
            If a grade is missing, off the scale, or the only one, or the labels are one-hot.
        ImageReadError
            If files cannot be read; the first is named, the rest counted.
        DataError
            If lengths differ, a file occurs twice, or the patient of a row is unknown.
        DivergedError
            If a training diverges, or features are not finite.
        MissingDependencyError
            If `sampling` is given and imbalanced-learn is not installed.

        Warns
        -----
        DataWarning
            Where more than two names are sorted alphabetically; once in a process, for a
            photograph without a field of view, whose mask is then everything.
        UnlearnedWarning
            If a network grades what it was trained on no better than a constant would.
        """
        parameters = Parameters.of(self)
        data = self._read(X, reset=True)
        where = data.where if isinstance(data, Images) else "row {}".format
        grades = read_grades(read_labels(y, len(data), where, self), self.grades, where)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, data)
        groups = None if groups is None else read_patients(groups, len(data))
        if isinstance(data, Images):
            check_duplicates(data, grades.positions, self.duplicates)
            groups = data.units if groups is None else groups
        fitted = fit_parts(parameters, data, grades, weight, groups, self.random_state)
        self._positions = to_positions(grades.classes, grades.scale)
        self.classes_, self.grades_ = grades.classes, grades.scale
        self.head_, self.log_dir_ = fitted.head, fitted.log_dir
        for name in ("frozen_", "history_", "plan_"):  # of an earlier fit, with other parameters
            self.__dict__.pop(name, None)
        if fitted.frozen is not None:
            self.frozen_, self.plan_ = fitted.frozen, fitted.plan
            self.__dict__.pop("n_features_in_", None)
        if isinstance(parameters.head, NeuralHead):
            self.history_ = fitted.head.history
        return self

    def _input(self, X: Any) -> Source:
        data = self._read(X, reset=False)
        if not isinstance(data, Images):
            return ArraySource(data)
        settings = FrozenSettings.of(self)
        return prediction_source(settings, data, self.frozen_, self.batch_size)

    def plan(self, X: Any) -> Plan:
        """Return what `fit` would compute and keep, and what that costs.

        Two batches run through the frozen layers to estimate the time; their results are
        kept for `fit`.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        Plan

        Raises
        ------
        InvalidParameterError
            If a parameter cannot be used, or the features are precomputed.
        ImageReadError
            If files cannot be read; the first is named, the rest counted.
        """
        parameters = Parameters.of(self)
        data = self._read(X, reset=False)
        if not isinstance(data, Images):
            raise invalid(self, "backbone", "one that runs on images", self.backbone)
        return plan_fit(parameters, data, draw_seed(self.random_state))

    def _read(self, X: Any, *, reset: bool) -> Images | NDArray[Any]:
        if is_precomputed(self.backbone):
            return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])
        return as_images(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        precomputed = is_precomputed(self.backbone)
        tags.input_tags.two_d_array = precomputed
        tags.input_tags.string = not precomputed
        tags.classifier_tags.poor_score = head_assumes_order(self)
        return tags
