"""`fundus` fine-tuning: the first layers frozen and run once."""

from __future__ import annotations

import numpy as np

from benchmarks.contenders.timing import EpochClock, forward_seconds, training_seconds
from benchmarks.job import Answer, Job
from fundus import TransferClassifier
from fundus.frozen.work import work_done


def run(job: Job) -> Answer:
    clock = EpochClock()
    model = TransferClassifier(
        **job.network,
        **job.options,
        grades=5,
        callbacks=[clock],
        crop=None,
        class_weight=None,
        patience=None,
        validation_fraction=0.0,
        random_state=0,
    )
    model.fit(job.paths, job.y)
    figures = {
        "epoch_s": float(np.median(clock.seconds[1:])),
        "forward_s": forward_seconds(model.model_, job.options["batch_size"]),
        "step_s": training_seconds(model.model_, job.options["batch_size"]),
        "steps": -(-len(job.paths) // job.options["batch_size"]),
        "trained": sum(weight.numpy().size for weight in model.model_.trainable_weights),
    }
    return Answer([], work_done["forward_passes"], figures)
