"""`fundus`: features of image files."""

from __future__ import annotations

import time

from benchmarks.job import Answer, Job
from fundus import FeatureExtractor
from fundus.frozen.work import work_done


def run(job: Job) -> Answer:
    options = dict(job.options)
    warm_up = options.pop("warm_up", [])
    extractor = FeatureExtractor(**job.network, **options).fit(job.paths)
    if warm_up:
        extractor.transform(warm_up)
    start = time.perf_counter()
    features = extractor.transform(job.paths)
    figures = {"extract_s": time.perf_counter() - start, "matrix_bytes": features.nbytes}
    return Answer([], work_done["forward_passes"], figures)
