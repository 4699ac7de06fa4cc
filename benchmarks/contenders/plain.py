"""What the contenders without `fundus` share: images in memory, the network, the class weights."""

from __future__ import annotations

from typing import Any

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job

N_GRADES = 5


def read_image(path: str, size: int, interpolation: int = cv2.INTER_AREA) -> NDArray[np.uint8]:
    """One image, RGB, squashed into a square."""
    image = cv2.resize(cv2.imread(path), (size, size), interpolation=interpolation)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def normalise(images: NDArray[np.uint8], backbone: str) -> NDArray[np.float32]:
    """The preprocessing that belongs to the network's weights."""
    if backbone == "resnet50":
        return keras.applications.resnet50.preprocess_input(images.astype(np.float32))
    return (images.astype(np.float32) - 127.0) / 128.0


def images_in_memory(job: Job, interpolation: int = cv2.INTER_AREA) -> NDArray[np.float32]:
    """All images, decoded and normalised, shape (n, size, size, 3)."""
    pictures = [read_image(path, job.image_size, interpolation) for path in job.paths]
    return normalise(np.stack(pictures), job.backbone)


def load_base(job: Job) -> keras.Model:
    """The backbone, freshly loaded."""
    return keras.models.load_model(job.backbone_file)


def add_head(features: Any) -> Any:
    """The chapter's head: average pooling, 2 × (Dense 512, Dropout 0.5), softmax."""
    x = keras.layers.GlobalAveragePooling2D()(features)
    for _ in range(2):
        x = keras.layers.Dense(512, activation="relu")(x)
        x = keras.layers.Dropout(0.5)(x)
    return keras.layers.Dense(N_GRADES, activation="softmax")(x)


def compile_model(model: keras.Model, learning_rate: float) -> keras.Model:
    """Adam as in the chapter, cross-entropy."""
    model.compile(
        keras.optimizers.Adam(learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def frozen_model(job: Job, learning_rate: float) -> keras.Model:
    """The network with the backbone frozen, as the Keras guides freeze one."""
    base = load_base(job)
    base.trainable = False
    inputs = keras.Input((job.image_size, job.image_size, 3))
    model = keras.Model(inputs, add_head(base(inputs, training=False)))
    return compile_model(model, learning_rate)
