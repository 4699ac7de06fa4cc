"""Features by the obvious loop: ``imread``, ``resize`` and ``predict``, one image at a time."""

from __future__ import annotations

import time

import cv2
import keras
import numpy as np

from benchmarks.contenders.plain import load_base, normalise, read_image
from benchmarks.job import Answer, Job


def run(job: Job) -> Answer:
    base = load_base(job)
    model = keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))
    features = []

    def extract(path: str) -> None:
        image = read_image(path, job.image_size, cv2.INTER_LINEAR)
        features.append(model.predict(normalise(image[np.newaxis], job.backbone), verbose=0)[0])

    for path in job.options["warm_up"]:
        extract(path)
    start = time.perf_counter()
    for path in job.paths:
        extract(path)
    seconds = time.perf_counter() - start
    return Answer([], len(features), {"extract_s": seconds})
