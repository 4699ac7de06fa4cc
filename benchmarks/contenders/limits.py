"""CPU seconds of one image's decoding and forward pass, each measured alone.

Decoding is `fundus.images.load_image`, one after another; the forward pass is the bare network on
batches that are ready in memory, with TensorFlow's own threads.
"""

from __future__ import annotations

import time

import keras
import numpy as np

from benchmarks.contenders.plain import load_base, normalise
from benchmarks.job import Answer, Job
from benchmarks.machine import cores
from fundus.images import ImageRecipe, load_image

BATCH = 32


def run(job: Job) -> Answer:
    recipe = ImageRecipe(job.image_size, job.options["crop"])
    load_image(job.paths[0], recipe)
    start = time.process_time()
    images = [load_image(path, recipe) for path in job.paths]
    decode = (time.process_time() - start) / len(images)

    base = load_base(job)
    model = keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))
    rows = np.arange(BATCH) % len(images)
    x = normalise(np.stack([images[row] for row in rows]), job.backbone)
    model.predict_on_batch(x)
    batches = max(2, len(images) // BATCH)
    start = time.process_time()
    for _ in range(batches):
        model.predict_on_batch(x)
    forward = (time.process_time() - start) / (batches * BATCH)
    figures = {
        "decode_cpu_s": decode,
        "forward_cpu_s": forward,
        "limit_per_s": cores() / (decode + forward),
    }
    return Answer([], (batches + 1) * BATCH, figures)
