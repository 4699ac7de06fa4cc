"""Which backbone, weights, cut and preprocessing: small records that pickle and name a function."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fundus.backbones.build import build_backbone, weights_digest
from fundus.backbones.pooling import maps_to_pool, pooled, refuse_without_positions
from fundus.backbones.splitting import Split, split
from fundus.backbones.stages import chosen_stages, names_in, stage_outputs
from fundus.backbones.weights_digests import digest_of
from fundus.backbones.weights_files import pretrained_file
from fundus.hookspecs import BackboneSpec
from fundus.plugins.registry import BUILTIN, get_registry
from fundus.runtime.keras_settings import dtype_policy

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Network:
    """A backbone, its weights and its cut, by name.

    Parameters
    ----------
    backbone : str or BackboneSpec
        Registered name, or an unregistered spec.
    weights : str or None
        Name of pretrained weights, a file, or ``None`` for random ones.
    image_size : int
        Edge of the input, in pixels.
    freeze : "all", int, float or str
        How many initial layers stay as they are.
    pooling : str
        One of `POOLINGS`; part of the frozen work when all is frozen.
    seed : int or None
        Seed of random weights.
    sha256 : str or None
        Digest of the weights file, if only this one may be read.
    pool_over : {"all", "fov"}
        Whether all positions of a map are pooled, or those in the field of view; where all is
        frozen.
    stages : str or None
        Which stages a multilevel pooling takes, as `stages_text` writes their numbers.
    """

    backbone: str | BackboneSpec
    weights: str | None
    image_size: int
    freeze: Any
    pooling: str
    seed: int | None = None
    sha256: str | None = None
    pool_over: str = "all"
    stages: str | None = None
    # 1, 1.0 and True are equal, and mean different cuts
    kind: str = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.freeze, np.generic):
            object.__setattr__(self, "freeze", self.freeze.item())
        object.__setattr__(self, "kind", type(self.freeze).__name__)

    @property
    def spec(self) -> BackboneSpec:
        """The backbone's record."""
        if isinstance(self.backbone, BackboneSpec):
            return self.backbone
        return get_registry().find("backbone", self.backbone).spec

    def weights_file(self) -> Path | None:
        """Local file of the weights, where there is one."""
        if self.weights is None:
            return None
        if self.weights not in self.spec.pretrained:
            return Path(self.weights)
        return pretrained_file(self.spec, self.weights)

    def build(self) -> keras.Model:
        """Build the whole network afresh, with its weights."""
        return build_backbone(
            self.spec,
            image_size=self.image_size,
            weights=self.weights,
            seed=self.seed,
            sha256=self.sha256,
        )

    def split(self) -> Split:
        """Build the network afresh and cut it at the freeze boundary."""
        return split(self.build(), self.freeze)


@lru_cache(maxsize=64)
def release_of(distribution: str) -> str:
    """Version of an installed distribution."""
    return metadata.version(distribution)


def weights_identity(network: Network) -> str:
    """Name a network's weights by their content, without TensorFlow where they have a file.

    The name is the SHA-256 of the file as hexadecimal digits, or of the weights where there is
    none; of random ones it holds their seed.
    """
    if network.weights is None:
        return f"random {network.seed}"
    if network.sha256 is not None:
        return network.sha256
    path = network.weights_file()
    if path is None or not path.is_file():
        load_frozen(network)  # fetches the weights, or raises why it cannot
        path = network.weights_file()
    if path is None:
        return model_digest(network)
    return digest_of(path, "sha256")


def _stamp(network: Network) -> tuple[int, ...]:
    """What tells a replaced weights file from the one read before."""
    if network.sha256 is not None:
        return ()
    path = network.weights_file()
    if path is None or not path.is_file():
        return ()
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def model_digest(network: Network) -> str:
    """SHA-256 of all weights of a built network, as hexadecimal digits."""
    return _digest(_plain(network), _stamp(network))


def _plain(network: Network) -> Network:
    """The same weights, cut and pooled in one way, as these are no part of them."""
    return replace(network, freeze="all", pooling="avg", pool_over="all", stages=None)


@lru_cache(maxsize=8)
def _digest(network: Network, stamp: tuple[int, ...]) -> str:
    return weights_digest(network.build())


def load_frozen(network: Network) -> keras.Model | None:
    """Build the frozen part of a network, once per process.

    It goes from normalised images to pooled features (all frozen) or to the tensors at the cut; it
    is None where nothing but the input is frozen.
    """
    return find_cut(network).prefix


@dataclass(frozen=True)
class Cut:
    """Where a network is cut; unlike a `Split`, it does not keep the trained part in memory.

    Parameters
    ----------
    prefix : keras.Model or None
        The frozen part; ``None`` where nothing but the input is frozen.
    all_frozen : bool
        Whether no layer of the backbone is trained.
    n_frozen : int
        Initial layers that are frozen, the input layer included.
    names : list of str
        Layers whose tensors cross the cut.
    shapes : list of tuple of int
        Shapes of these tensors, without the batch; of the pooled features where all is frozen.
    """

    prefix: keras.Model | None
    all_frozen: bool
    n_frozen: int
    names: list[str]
    shapes: list[tuple[int, ...]]


def find_cut(network: Network) -> Cut:
    """Build a network, once per process, and say where it is cut."""
    return _built(network, _stamp(network), dtype_policy())


@lru_cache(maxsize=4)
def _built(network: Network, stamp: tuple[int, ...], precision: str) -> Cut:
    parts = _frozen(network) if network.freeze == "all" else network.split()
    prefix, shapes = parts.prefix, parts.cut_shapes
    if prefix is not None and network.freeze == "all":
        place, stages = network.pool_over, network.stages
        prefix = pooled(prefix, network.pooling, pool_over=place, stages=stages)
        shapes = [tuple(prefix.output_shape[1:])]
    return Cut(prefix, parts.suffix is None, parts.n_frozen, parts.cut_names, shapes)


def load_maps(network: Network) -> keras.Model:
    """Build a network, all of whose layers are frozen, with the maps that it pools.

    It is built once per process; its outputs are the features, and the maps, first stage first.
    """
    return _with_maps(network, _stamp(network), dtype_policy())


@lru_cache(maxsize=2)
def _with_maps(network: Network, stamp: tuple[int, ...], precision: str) -> keras.Model:
    place, stages = network.pool_over, network.stages
    prefix = _frozen(network).prefix
    return pooled(prefix, network.pooling, pool_over=place, stages=stages, keep_maps=True)


def _frozen(network: Network) -> Split:
    """The network with all layers frozen, not pooled; one for several poolings."""
    return _split_frozen(_plain(network), _stamp(network), dtype_policy())


@lru_cache(maxsize=2)
def _split_frozen(network: Network, stamp: tuple[int, ...], precision: str) -> Split:
    return network.split()


def pooled_as(network: Network, pool_over: str, stages: str | None) -> Network:
    """Return a network, all of whose layers are frozen, with its pooling decided.

    It is built for this only where a plugin brings it, whose output may be tokens or a vector, or
    where stages have names.

    Parameters
    ----------
    network : Network
    pool_over : {"auto", "fov", "all"}
        ``"auto"`` is the field of view where all pooled maps have a height and a width.
    stages : str or None
        As `stages_text` writes it.

    Raises
    ------
    InvalidParameterError
        If there is no such stage, or ``"fov"`` is asked for and no map has the positions of the
        picture.
    """
    if names_in(stages):
        model = _frozen(network).prefix
        places = chosen_stages(model, stage_outputs(model)[1], stages)
        stages = ",".join(map(str, places))
    if pool_over == "auto":
        pool_over = "fov" if _has_planes(network) or _only_planes(network, stages) else "all"
    elif pool_over == "fov" and not _has_planes(network):
        model = _frozen(network).prefix
        refuse_without_positions(model, maps_to_pool(model, network.pooling, stages)[1])
    return replace(network, pool_over=pool_over, stages=stages)


def _only_planes(network: Network, stages: str | None) -> bool:
    """Whether all pooled maps have a height and a width; a vector that is no map does not count."""
    _, maps = maps_to_pool(_frozen(network).prefix, network.pooling, stages)
    return {len(tensor.shape) for tensor in maps} - {2} == {4}


def _has_planes(network: Network) -> bool:
    """Whether it is known, without building it, that all maps have a height and a width."""
    name = network.backbone
    # the zoo's are convolutional, without a classification top; tests look at each
    return isinstance(name, str) and get_registry().find("backbone", name).plugin == BUILTIN


def all_frozen(network: Network) -> bool:
    """Whether no layer of the backbone is trained."""
    return network.freeze == "all" or find_cut(network).all_frozen


def cut_size(network: Network) -> int:
    """Return how many tensors cross the cut; 0 where nothing but the input is frozen."""
    if network.freeze == "all":
        return 1
    cut = find_cut(network)
    return 0 if cut.prefix is None else len(cut.shapes)
