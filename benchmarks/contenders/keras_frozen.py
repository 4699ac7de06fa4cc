"""Plain Keras: ``trainable=False``, decoded images in memory, the backbone run in every epoch."""

from __future__ import annotations

import keras
import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from benchmarks.contenders.plain import frozen_model, images_in_memory
from benchmarks.job import Answer, Job


def run(job: Job) -> Answer:
    keras.utils.set_random_seed(0)
    X, y = images_in_memory(job), job.y
    epochs, batch_size = job.options["epochs"], job.options["batch_size"]
    answer = Answer([0] * len(y))
    for train, test in job.folds:
        model = frozen_model(job, job.options["learning_rate"])
        classes = np.unique(y[train])
        weights = compute_class_weight("balanced", classes=classes, y=y[train])
        model.fit(
            X[train],
            y[train],
            batch_size=batch_size,
            epochs=epochs,
            class_weight=dict(zip(classes.tolist(), weights.tolist(), strict=True)),
            callbacks=[keras.callbacks.ReduceLROnPlateau("loss", 0.5, 3, min_lr=1e-6)],
            verbose=0,
        )
        predicted = model.predict(X[test], verbose=0).argmax(axis=1)
        for row, grade in zip(test, predicted, strict=True):
            answer.predictions[row] = int(grade)
        answer.forward_passes += epochs * len(train) + len(test)
        keras.backend.clear_session()
    return answer
