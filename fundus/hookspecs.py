"""What a plugin provides: typed records and the hooks that return them.

A plugin is a module with any of the hooks below, registered under the entry-point group
``fundus``. It needs to import nothing but this module::

    from fundus.hookspecs import BackboneSpec, hookimpl

    @hookimpl
    def fundus_backbones():
        return [BackboneSpec(name="my_net", build=build, ...)]
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pluggy
from numpy.typing import NDArray

from fundus.exceptions import PluginError
from fundus.modelspecs import ModelScore as ModelScore
from fundus.modelspecs import ModelSpec as ModelSpec
from fundus.reportspecs.records import MetricSpec as MetricSpec
from fundus.reportspecs.records import ReportSectionSpec as ReportSectionSpec

if TYPE_CHECKING:
    import keras

    from fundus.heads.base import Head

#: The number of this contract. It rises when something is removed or changes its meaning; new
#: hooks, new arguments of hooks and new fields with a default leave it. A plugin states the number
#: it was written for as ``fundus_api``; one that states none counts as 1.
API_VERSION = 1

#: The minor release that brought each number; in that release the number before it still works.
API_SINCE = {1: (0, 1)}

#: Entry-point group and pluggy project name.
GROUP = "fundus"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

#: uint8 RGB images, shape (n, height, width, 3), to float32 of the same shape.
NormaliseFunction = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of pretrained weights: what ``fundus weights`` lists, checks and puts in place.

    Parameters
    ----------
    weights : str
        Which of the backbone's `pretrained` it is.
    file : str
        Name of the file, without a folder. No other file of any backbone may have it, so that
        ``"retina-net-b0.safetensors"`` is better than ``"model.safetensors"``.
    digest : str, default=""
        SHA-256 or MD5 of the file, as 64 or 32 hexadecimal digits; empty where its publisher
        gives none.
    url : str, default=""
        Where it can be had.
    package : str, default=""
        The package that brings it, as pip takes it, such as ``"my-weights==1.0"``.
    n_bytes : int, default=None
        Size of the file; ``None`` where it is not known.
    place : callable, default=None
        ``place()`` returns where the backbone's own code looks for the file, there or not, or
        ``None``. It must not import Keras.
    """

    weights: str
    file: str
    digest: str = ""
    url: str = ""
    package: str = ""
    n_bytes: int | None = None
    place: Callable[[], Path | None] | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A convolutional or transformer network that turns images into feature maps.

    Parameters
    ----------
    name : str
        Name users pass as ``backbone=``; lower case letters, digits and underscores.
    build : callable
        ``build(*, image_size, weights)`` returns a functional ``keras.Model`` whose input is
        float32 of shape ``(batch, image_size, image_size, 3)``, as `normalise` makes it, and
        whose output is the last feature map ``(batch, height, width, channels)`` or a feature
        vector ``(batch, channels)``. ``weights`` is ``None`` (random) or one of `pretrained`.
        Random numbers are drawn by Keras's initialisers and layers, which alone are seeded.
        Raises `WeightsNotAvailableError` when pretrained weights cannot be had.
    image_size : int
        Default edge of the square input, in pixels.
    normalise : str or callable, default="none"
        What the pretrained weights expect: the name of a preprocessor of kind "scale", or a
        function from uint8 RGB ``(n, height, width, 3)`` to float32 of the same shape.
    parameters : int
        Number of weights without a classification top.
    licence : str
        Licence of the pretrained weights.
    pretrained : tuple of str, default=("imagenet",)
        Names accepted as ``weights=`` besides ``None`` and a file.
    weights_path : callable, default=None
        ``weights_path(name)`` returns the local file of the pretrained weights, or ``None`` if
        they are not on this machine. It must not import Keras.
    load_weights : callable, default=None
        ``load_weights(model, path)`` reads a weights file into a built model; ``None``, and a file
        called ``*.weights.h5``, mean ``model.load_weights(path)``.
    weights_files : tuple of WeightsFile, default=()
        The files of `pretrained`. One of them in ``FUNDUS_WEIGHTS_DIR`` is loaded into what
        ``build(weights=None)`` returns, and ``build`` is not asked for it.
    weights_formats : tuple of str, default=()
        Endings of the files that can be loaded, such as ``(".pth", ".safetensors")``. Empty means
        those of Keras, and with `load_weights` any.
    min_image_size : int, default=32
        Smallest edge the network accepts, in pixels.
    citation : str, default=""
        Paper or DOI.
    """

    name: str
    build: Callable[..., keras.Model]
    image_size: int
    parameters: int
    licence: str
    normalise: str | NormaliseFunction = "none"
    pretrained: tuple[str, ...] = ("imagenet",)
    weights_path: Callable[[str], Path | None] | None = None
    load_weights: Callable[[Any, Path], None] | None = None
    min_image_size: int = 32
    citation: str = ""
    weights_files: tuple[WeightsFile, ...] = ()
    weights_formats: tuple[str, ...] = ()

    @classmethod
    def from_model(
        cls,
        model: keras.Model | str | PathLike[str],
        *,
        normalise: str | NormaliseFunction,
        name: str | None = None,
        image_size: int | None = None,
        licence: str = "unknown",
    ) -> BackboneSpec:
        """Make a record of a Keras model, to be passed as ``backbone=``.

        The model's configuration and weights are copied, so that later training of `model` changes
        nothing; ``freeze`` decides what of the copy is trained. Its features are kept under the
        digest of both. Such a record cannot be saved with a fitted model: register it through a
        plugin for that.

        Parameters
        ----------
        model : keras.Model or path
            Functional, or Sequential and built: one float32 image as input; a feature map or a
            vector as output, so without a classification top, as
            ``keras.Model(model.input, model.layers[-2].output)``. A ``.keras`` file is loaded in
            safe mode, which runs no code out of it.
        normalise : str or callable
            What its weights expect: the name of a preprocessor, ``"none"`` for values 0–255 where
            the model scales them itself, or a function.
        name : str, default=None
            Of the record; ``None`` is the model's own.
        image_size : int, default=None
            Edge of the input, in pixels, where the model's input leaves it open.
        licence : str, default="unknown"
            Of the weights.

        Returns
        -------
        BackboneSpec
            ``weights="model"``, and the estimators' default, mean the model's own weights; ``None``
            random ones.

        Raises
        ------
        InvalidParameterError
            If the model cannot be a backbone, or cannot be built again from its configuration.

        Examples
        --------
        >>> import keras
        >>> inputs = keras.Input((32, 32, 3))
        >>> net = keras.Model(inputs, keras.layers.Conv2D(8, 3, strides=4)(inputs), name="mine")
        >>> spec = BackboneSpec.from_model(net, normalise="tf")
        >>> spec.name, spec.image_size, spec.parameters
        ('mine', 32, 224)
        """
        import re

        from fundus.runtime.given_model import OWN_WEIGHTS, take_model

        builder, own_name, parameters = take_model(model, image_size)
        plain = re.sub(r"[^a-z0-9_-]", "_", own_name.lower())
        return cls(
            name=name or (plain if plain[:1].isalpha() else f"model_{plain}"),
            build=builder,
            image_size=builder.image_size,
            parameters=parameters,
            licence=licence,
            normalise=normalise,
            pretrained=OWN_WEIGHTS,
            min_image_size=min(32, builder.image_size),
        )


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """What turns features into grades.

    Parameters
    ----------
    name : str
        Name users pass as ``head=``.
    make : callable or str
        ``make(**parameters)`` returns a `fundus.heads.base.NeuralHead` or
        `fundus.heads.base.EstimatorHead`; usually the class itself, or where it is, by its
        own name, as ``"package.module:Class"``: then ``fundus heads`` need not import it.
    description : str
        One line for ``fundus heads``.

    Examples
    --------
    >>> spec = HeadSpec(name="mine", make="fundus.heads.neural:ReluHead", description="ReLU.")
    >>> spec.maker.__name__
    'ReluHead'
    """

    name: str
    make: Callable[..., Head] | str
    description: str

    @cached_property
    def maker(self) -> Callable[..., Head]:
        """What `make` is or names, imported at the first use.

        Raises
        ------
        PluginError
            If it names nothing that can be imported and called.
        """
        if not isinstance(self.make, str):
            return self.make
        module, _, name = self.make.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (Exception, SystemExit) as error:  # a plugin's module may raise anything
            raise PluginError(
                f"The head {self.name!r} is said to be made by {self.make!r}, which cannot be "
                f"imported: {error}"
            ) from error
        if not callable(found):
            raise PluginError(
                f"The head {self.name!r} is said to be made by {self.make!r}, which must be "
                f"callable. Got {found!r} instead."
            )
        return found

    def makes(self, cls: type) -> bool:
        """Whether heads of a class are made by this; what cannot be imported makes none."""
        if not isinstance(self.make, str):
            return self.make is cls
        if self.make.rpartition(":")[2] != cls.__name__:
            return False
        try:
            return self.maker is cls
        except PluginError:
            return False


@dataclass(frozen=True, kw_only=True)
class PreprocessorSpec:
    """A photometric step, or the scale that a network's weights were trained with.

    Parameters
    ----------
    name : str
        Name users pass as ``photometric=`` or ``normalise=``, by the kind.
    apply : callable
        ``apply(images, **state)``: uint8 RGB, shape (n, height, width, 3), to float32 of the same
        shape, or to uint8 where it is photometric. It must treat every image on its own.
    description : str
        One line.
    fit : callable, default=None
        ``fit(batches)`` reads an iterable of uint8 batches, training images only, and returns
        ``state``: a dict of floats or lists of floats.
    kind : {"scale", "photometric"}, default="scale"
        A scale makes the float32 that one network expects. A photometric step changes light and
        colour, uint8 to uint8, and the scale of the network's own follows it, so that it goes with
        every network.
    traced : callable, default=None
        ``traced(images, **state)``: what `apply` does, with ``keras.ops`` on tensors, so that
        models with it can be exported: uint8 of shape (batch, height, width, 3) to float32 of the
        same shape, whole numbers 0–255 where it is photometric.
    """

    name: str
    apply: Callable[..., NDArray[Any]]
    description: str
    fit: Callable[..., dict[str, Any]] | None = None
    kind: str = "scale"
    traced: Callable[..., Any] | None = None


@dataclass(frozen=True, kw_only=True)
class LayoutSpec:
    """Which columns a table of graded photographs has, as a data set is published.

    Tables that the library reads by itself are not shown to layouts. Case, spaces and underscores
    do not matter in names of columns.

    Parameters
    ----------
    name : str
        Name of the layout, for messages; lower case letters, digits and underscores.
    description : str
        One line: of which data set.
    path : str
        Column of the image files.
    grade : str
        Column of the grades.
    patient : str, default=None
        Column of the patients.
    eye : str, default=None
        Column of the eyes, as "left" and "right".
    eye_codes : dict of int to str, default=None
        What numbers in the column of eyes stand for, such as ``{0: "left", 1: "right"}``.
    """

    name: str
    description: str
    path: str
    grade: str
    patient: str | None = None
    eye: str | None = None
    eye_codes: dict[int, str] | None = None


@hookspec
def fundus_backbones() -> list[BackboneSpec]:  # type: ignore[empty-body]
    """Return the backbones this plugin adds."""


@hookspec
def fundus_heads() -> list[HeadSpec]:  # type: ignore[empty-body]
    """Return the heads this plugin adds."""


@hookspec
def fundus_preprocessors() -> list[PreprocessorSpec]:  # type: ignore[empty-body]
    """Return the preprocessors this plugin adds."""


@hookspec
def fundus_layouts() -> list[LayoutSpec]:  # type: ignore[empty-body]
    """Return the layouts of tables this plugin adds; each layout is one data set's."""


@hookspec
def fundus_models() -> list[ModelSpec]:  # type: ignore[empty-body]
    """Return the ready graders this plugin adds; each is one fitted model."""


@hookspec
def fundus_metrics() -> list[MetricSpec]:  # type: ignore[empty-body]
    """Return the metrics this plugin adds."""


@hookspec
def fundus_report_sections() -> list[ReportSectionSpec]:  # type: ignore[empty-body]
    """Return each report-section that this plugin adds to reports of runs."""
