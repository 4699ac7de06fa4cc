"""Frozen work on several machines, by Dask or Ray."""

from fundus.distributed.extraction import Extraction, WorkerRecord, extract

__all__ = ["Extraction", "WorkerRecord", "extract"]
