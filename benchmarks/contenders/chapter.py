"""The chapter's ``TransferLearning.py`` in Keras 3, its faults mended.

As there: images in memory, affine augmentation by ``ImageDataGenerator``, the whole network trained
(its ``full_freeze='N'`` froze nothing), average pooling and 2 × (Dense 512, Dropout 0.5), Adam,
weights ∝ 1/frequency that sum to 1, ReduceLROnPlateau(0.5, 3, 1e-6), EarlyStopping(10), CSVLogger,
ModelCheckpoint of the best validation loss, one model per fold.

Mended: the preprocessing is the network's own, on floats and RGB; the interpolation is passed as
such; folds are stratified; early stopping watches a part of the training images, not the fold that
is scored; the weights are computed and not typed in; every fold has its own log and checkpoint.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import keras
import numpy as np
from sklearn.model_selection import train_test_split
from tensorflow.keras.preprocessing.image import ImageDataGenerator

from benchmarks.contenders.plain import (
    N_GRADES,
    add_head,
    compile_model,
    images_in_memory,
    load_base,
)
from benchmarks.job import Answer, Job


def run(job: Job) -> Answer:
    keras.utils.set_random_seed(0)
    X, y = images_in_memory(job, cv2.INTER_LINEAR), job.y
    answer = Answer([0] * len(y))
    with tempfile.TemporaryDirectory() as folder:
        for k, (train, test) in enumerate(job.folds):
            epochs, predicted = train_fold(job, X, y, train, X[test], Path(folder, f"fold{k}"))
            for row, grade in zip(test, predicted, strict=True):
                answer.predictions[row] = int(grade)
            # both parts of the training images go through the network in every epoch
            answer.forward_passes += epochs * len(train) + len(test)
            answer.figures[f"epochs_fold{k}"] = epochs
    return answer


def train_fold(job, X, y, train, X_test, folder):
    """Train one fold; return the epochs it took and the grades of its test images."""
    folder.mkdir()
    options = job.options
    fit, held_out = train_test_split(train, test_size=0.1, stratify=y[train], random_state=0)
    frequency = np.bincount(y[fit], minlength=N_GRADES)
    weights = 1 / np.maximum(frequency, 1)
    weights /= weights.sum()
    generator = ImageDataGenerator(
        rotation_range=20,
        width_shift_range=0.1,
        height_shift_range=0.1,
        zoom_range=0.2,
        horizontal_flip=True,
        vertical_flip=True,
        fill_mode="nearest",
    )
    keras.backend.clear_session()
    base = load_base(job)
    model = keras.Model(base.input, add_head(base.output))
    compile_model(model, options["learning_rate"])
    best = str(folder / "best.weights.h5")
    history = model.fit(
        generator.flow(X[fit], y[fit], batch_size=options["batch_size"], seed=0),
        validation_data=(X[held_out], y[held_out]),
        epochs=options["epochs"],
        class_weight=dict(enumerate(weights.tolist())),
        callbacks=[
            keras.callbacks.ReduceLROnPlateau("val_loss", 0.5, 3, min_lr=1e-6),
            keras.callbacks.EarlyStopping("val_loss", patience=10),
            keras.callbacks.CSVLogger(str(folder / "log.csv")),
            keras.callbacks.ModelCheckpoint(
                best, "val_loss", save_best_only=True, save_weights_only=True
            ),
        ],
        verbose=2,
    )
    model.load_weights(best)
    predicted = model.predict(X_test, batch_size=options["batch_size"], verbose=0).argmax(axis=1)
    return len(history.history["loss"]), predicted
