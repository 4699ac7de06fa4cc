"""A plugin in one file
====================

A backbone and a head of one's own, in one file, without installing anything.

A real plugin puts this code into a package with an entry point in the group ``fundus``; see
``plugins/fundus-example``. Here the records are passed as they are, which is how to develop one.

    python examples/write_a_plugin.py train/
"""

from __future__ import annotations

from common import arguments, folder_of_photographs
from rich import print

from fundus import FoldEnsemble, TransferClassifier, load_image_folder, quadratic_weighted_kappa
from fundus.heads.neural import SoftmaxHead
from fundus.hookspecs import BackboneSpec
from fundus.testing import check_backbone


def build(*, image_size, weights):
    import keras
    from keras import layers

    x = inputs = keras.Input((image_size, image_size, 3), dtype="float32")
    for filters in (8, 16, 32):
        x = layers.SeparableConv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, x)


def scaled(images):
    return images.astype("float32") / 255


SPEC = BackboneSpec(
    name="three_layers",
    build=build,
    normalise=scaled,
    image_size=64,
    parameters=963,
    licence="BSD-3-Clause",
    pretrained=(),
)


class SmoothedHead(SoftmaxHead):
    """Cross-entropy against targets that leave some probability to the other grades."""

    def __init__(self, units=64, layers=1, dropout=0.2, smoothing=0.1):
        super().__init__(units, layers, dropout)
        self.smoothing = smoothing

    def loss(self, n_grades):
        import keras

        return keras.losses.CategoricalCrossentropy(label_smoothing=self.smoothing)

    def encode(self, positions, n_grades):
        import numpy as np

        return np.eye(n_grades, dtype="float32")[positions]


def main() -> None:
    options = arguments(__doc__)
    data = load_image_folder(folder_of_photographs(options))

    check_backbone(SPEC, weights=None)
    model = FoldEnsemble(
        TransferClassifier(
            SPEC,
            SmoothedHead(),
            weights=None,
            freeze=0,
            learning_rate=1e-3,
            epochs=options.epochs,
            grades=data.n_grades,
            random_state=0,
        ),
        cv=2,
        random_state=0,
    ).fit(data.frame, data.grades)
    kappa = quadratic_weighted_kappa(data.grades, model.oof_prediction_)
    print(f"trained from scratch, out of fold, {len(data.grades)} images: kappa {kappa:.3f}")


if __name__ == "__main__":
    main()
