"""The start of a graph: a picture, and the frozen layers that run on it, each once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from fundus.backbones.network import load_frozen
from fundus.backbones.splitting import one_or_list
from fundus.exceptions import ExportError
from fundus.frozen.function import Frozen
from fundus.grades.in_keras import signed_power
from fundus.images import ImageRecipe
from fundus.images.aperture import field_of_view
from fundus.runtime.keras_settings import DEFAULT_POLICY, dtype_policy
from fundus.tracing.pictures import normalised_pictures

if TYPE_CHECKING:
    import keras

#: Name of the graph's input.
PICTURE = "image"


class Trace:
    """The graph of one model while it grows.

    Attributes
    ----------
    picture : KerasTensor of uint8, shape (batch, size, size, 3)
        RGB, 0–255, cropped and resized; ``None`` until frozen layers were asked for.
    recipe : ImageRecipe
        How a photograph becomes that picture.
    """

    def __init__(self) -> None:
        self.picture: Any = None
        self.recipe: ImageRecipe | None = None
        self._mask: Any = None
        self._outputs: dict[Hashable, list[Any]] = {}

    def frozen(self, frozen: Frozen) -> list[Any]:
        """Run frozen layers on the picture, once for all models that share them.

        Parameters
        ----------
        frozen : Frozen

        Returns
        -------
        list of KerasTensor
            Those at the cut; of a network that is frozen as a whole its pooled features.

        Raises
        ------
        ExportError
            If the layers take another picture than those before them, or their preprocessing has
            no counterpart among the operations of Keras.
        """
        self._take(frozen.recipe)
        layers = frozen.key()
        if layers not in self._outputs:
            self._outputs[layers] = self._run(frozen)
        outputs = self._outputs[layers]
        if frozen.power is None:
            return outputs
        key = (layers, frozen.power)
        if key not in self._outputs:
            self._outputs[key] = [signed_power(tensor, frozen.power) for tensor in outputs]
        return self._outputs[key]

    def _take(self, recipe: ImageRecipe) -> None:
        import keras

        policy = dtype_policy()
        if policy != DEFAULT_POLICY:
            raise ExportError(
                f"A model is exported in single precision. Got the dtype policy {policy!r}: call "
                f"keras.config.set_dtype_policy({DEFAULT_POLICY!r}) first."
            )
        if self.recipe is None:
            self.recipe, size = recipe, recipe.image_size
            self.picture = keras.Input((size, size, 3), dtype="uint8", name=PICTURE)
        elif recipe != self.recipe:
            raise ExportError(
                "The models inside look at different pictures, and an exported model takes one. "
                f"Got {self.recipe} and {recipe}: export them one by one."
            )

    def _run(self, frozen: Frozen) -> list[Any]:
        from keras import ops

        inputs = [normalised_pictures(frozen.normaliser, self.picture)]
        if frozen.pools_fov:
            if self._mask is None:
                self._mask = field_of_view(self.picture, ops)
            inputs.append(self._mask)
        layers = load_frozen(frozen.network)
        if layers is None:  # nothing but the input is frozen
            return inputs
        outputs = _copied(layers)(one_or_list(inputs), training=False)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _copied(layers: keras.Model) -> keras.Model:
    """The same network with weights of its own; other models of this process share `layers`."""
    import keras

    try:
        copy = keras.models.clone_model(layers)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ExportError(
            "A layer of the backbone cannot be made again from its configuration, so the model "
            f"cannot be exported: write its 'get_config' and 'from_config'. Keras says: {error}"
        ) from error
    for layer in layers.layers:
        copy.get_layer(layer.name).set_weights(layer.get_weights())
    copy.trainable = layers.trainable
    return copy
