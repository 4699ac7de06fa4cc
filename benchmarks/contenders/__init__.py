"""The contenders: each module has ``run(job)`` and is started in a process of its own.

``python -m benchmarks.contenders JOB ANSWER`` runs the one that a job names.
"""
