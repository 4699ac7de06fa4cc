"""Plain Keras fine-tuning: the first layers frozen, all layers run in every epoch."""

from __future__ import annotations

import keras
import numpy as np

from benchmarks.contenders.plain import add_head, compile_model, images_in_memory, load_base
from benchmarks.contenders.timing import EpochClock, forward_seconds
from benchmarks.job import Answer, Job


def run(job: Job) -> Answer:
    keras.utils.set_random_seed(0)
    X, options = images_in_memory(job), job.options
    base = load_base(job)
    for layer in base.layers[: round(options["freeze"] * len(base.layers))]:
        layer.trainable = False
    model = keras.Model(base.input, add_head(base.output))
    compile_model(model, options["learning_rate"])
    clock = EpochClock()
    model.fit(
        X,
        job.y,
        batch_size=options["batch_size"],
        epochs=options["epochs"],
        callbacks=[clock],
        verbose=0,
    )
    figures = {
        "epoch_s": float(np.median(clock.seconds[1:])),
        "forward_s": forward_seconds(model, options["batch_size"]),
        "trained": sum(weight.numpy().size for weight in model.trainable_weights),
    }
    return Answer([], options["epochs"] * len(X), figures)
