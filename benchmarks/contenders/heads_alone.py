"""The fits of a grid's heads and nothing else, on features that are there."""

from __future__ import annotations

import time

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from benchmarks.contenders.fundus_grid import HEADS
from benchmarks.job import Answer, Job
from fundus import FeatureExtractor
from fundus.frozen.work import work_done


def run(job: Job) -> Answer:
    X = FeatureExtractor(**job.network, crop=job.options["crop"]).fit_transform(job.paths)
    seconds = 0.0
    for part in job.options["grid"]:
        for C in part["head__C"]:
            for train, _ in job.folds:
                y = job.y[train]
                head = HEADS[part["head"]](C=C)
                estimator = head.make_estimator(grade_counts=np.bincount(y), random_state=0)
                last = estimator.steps[-1][0]
                weights = {f"{last}__sample_weight": compute_sample_weight("balanced", y)}
                start = time.perf_counter()
                with threadpool_limits(1):
                    estimator.fit(X[train], y, **weights)
                seconds += time.perf_counter() - start
    return Answer([], work_done["forward_passes"], {"fit_s": seconds})
