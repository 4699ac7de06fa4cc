"""`fundus`: a cross-validation that keeps its models."""

from __future__ import annotations

from benchmarks.job import Answer, Job
from fundus import FoldEnsemble, TransferClassifier
from fundus.frozen.work import work_done


def run(job: Job) -> Answer:
    estimator = TransferClassifier(**job.network, **job.options, grades=5, random_state=0)
    model = FoldEnsemble(estimator, cv=job.folds).fit(job.paths, job.y)
    return Answer(model.oof_prediction_.tolist(), work_done["forward_passes"])
