"""`fundus`: a saved ensemble, or one of its models, on images that are new to it."""

from __future__ import annotations

import time

from benchmarks.job import Answer, Job
from fundus import load
from fundus.frozen.work import work_done


def run(job: Job) -> Answer:
    model = load(job.options["saved"])
    if job.options["members"] == "one":
        model = model.estimators_[0]
    start = time.perf_counter()
    model.predict(job.paths)
    figures = {"predict_s": time.perf_counter() - start}
    return Answer([], work_done["forward_passes"], figures)
