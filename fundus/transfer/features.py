"""`FeatureExtractor`: images to features, as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fundus.backbones.network import load_frozen
from fundus.backbones.pooling import signed_power
from fundus.data.inputs import as_images
from fundus.frozen.prepare import draw_seed, prepare
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.work import features, start_work
from fundus.parameters import check_int


class FeatureExtractor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn images into the pooled features of a frozen backbone.

    An image's features are computed once and kept in the store, for every fold, candidate, process
    and later run. The names of the features, which ``set_output(transform="pandas")`` needs,
    are ``featureextractor0``, …; to count them, the network is built if this process has not yet.

    Parameters
    ----------
    backbone : str or BackboneSpec, default="efficientnet_lite0"
        Registered name; see `list_backbones`.
    weights : str, path or None, default="imagenet"
        Pretrained weights, a file, or ``None`` for random ones (seeded by `random_state`).
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
        "multilevel_avg+max" or "multilevel_std" of every stage of the network.
    pool_over : {"auto", "fov", "all"}, default="auto"
        Positions of a map that are pooled: "fov" are those in the field of view, each with the
        share of it that lies inside, so that features depend less on how much of the square is
        black border; of tokens it takes the patches. "all" are all, as in earlier releases.
        "auto" is "fov" for networks whose maps have a height and a width, else "all".
    stages : slice, int, str or sequence of int and str, default=None
        Stages that a multilevel pooling takes: numbers, from 0, or names of the layers they end
        with; None is all. ``slice(None, -1)`` leaves the last one out.
    power : float or None, default=None
        Exponent in (0, 1] of the features' absolute values, their signs kept; 0.5 is the signed
        square root.
    cache : bool, path or Cache, default=True
        Where features are kept; ``False`` keeps none.
    n_jobs : int, default=None
        Decoding threads; ``None`` and -1 mean one per processor.
    random_state : int, RandomState or None, default=None
        Seed of random weights.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    network_ : Network
        Backbone, weights and cut.
    frozen_ : Frozen
        The network with its preprocessing.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.zeros((2, 40, 60, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("tiny", weights="fixed", cache=False)
    >>> extractor.fit_transform(X).shape
    (2, 16)
    """

    #: Parameters of a run, not of a model; a loaded one has the defaults.
    _not_saved = ("cache", "n_jobs", "verbose")

    def __init__(
        self,
        backbone: Any = "efficientnet_lite0",
        *,
        weights: Any = "imagenet",
        image_size: int | None = None,
        crop: str | None = "fov",
        aperture: str | None = None,
        photometric: Any = None,
        normalise: Any = "backbone",
        pooling: str = "avg",
        pool_over: str = "auto",
        stages: Any = None,
        power: float | None = None,
        cache: Any = True,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.crop = crop
        self.aperture = aperture
        self.photometric = photometric
        self.normalise = normalise
        self.pooling = pooling
        self.pool_over = pool_over
        self.stages = stages
        self.power = power
        self.cache = cache
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __setstate__(self, state: dict[str, Any]) -> None:
        # one that an earlier release has saved pools as it did
        super().__setstate__({"pool_over": "all", "stages": None, "aperture": None} | state)

    def fit(self, X: Any, y: ArrayLike | None = None) -> FeatureExtractor:
        """Check the parameters, and fit the normaliser if it needs images.

        Parameters
        ----------
        X : images
            Paths, a frame with a ``path`` column, uint8 RGB arrays (n, height, width, 3), or a list
            of images in memory: Pillow images, bytes of files, or uint8 RGB arrays of any sizes. A
            column, shape (n, 1), of any of these works too, as `ColumnTransformer` passes it.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter cannot be used.
        UnknownNameError
            If no backbone or preprocessor has the name.
        """
        check_int(self, "verbose", low=0)
        settings = FrozenSettings.of(self, freeze="all")
        self.frozen_ = prepare(settings, as_images(X), seed=draw_seed(self.random_state))
        self.network_ = self.frozen_.network
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the features of images.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_features)

        Raises
        ------
        ImageReadError
            If files cannot be read; the first is named, the rest counted.

        Warns
        -----
        DataWarning
            Once in a process, for a photograph without a field of view, whose mask is then
            everything.
        """
        check_is_fitted(self)
        settings = FrozenSettings.of(self, freeze="all")
        found = features(start_work(settings, as_images(X), self.frozen_))
        return signed_power(found, self.frozen_.power)

    @property
    def _n_features_out(self) -> int:  # of scikit-learn's mixin
        model = load_frozen(self.frozen_.network)
        assert model is not None  # all layers are frozen
        return int(model.outputs[0].shape[-1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = True
        return tags
