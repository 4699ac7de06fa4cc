"""``fundus train --engine``: the frozen work, or the folds, on the workers of Dask or Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from fundus.exceptions import EngineError

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from fundus.cli.screen import Screen
    from fundus.cli.settings import Settings
    from fundus.data.inputs import Images
    from fundus.distributed.engines import Engine
    from fundus.transfer.classifier import TransferClassifier
    from fundus.transfer.features import FeatureExtractor


def check_engine(settings: Settings) -> None:
    """Refuse an address without an engine.

    Raises
    ------
    typer.BadParameter
    """
    if settings.scheduler is not None and settings.engine is None:
        raise typer.BadParameter(
            "it needs --engine, which says what is at the address: dask or ray.",
            param_hint="--scheduler",
        )


@contextmanager
def engine_for(settings: Settings) -> Iterator[OfARun]:
    """Connect to the engine of a run, or start its workers, which end with the context.

    Raises
    ------
    EngineError
        If nothing answers at ``--scheduler``.
    MissingDependencyError
        If the engine is not installed.
    """
    if settings.engine is None:
        yield OfARun(None)
        return
    from fundus.distributed.opening import started

    with started(settings.engine.value, settings.scheduler, settings.jobs) as engine:
        yield OfARun(engine)


class OfARun:
    """The engine of a run, if it has one."""

    def __init__(self, engine: Engine | None) -> None:
        self.engine = engine

    def prepare(
        self,
        classifier: TransferClassifier,
        graded: Bunch,
        held_back: Bunch | None,
        screen: Screen,
    ) -> bool:
        """Check the workers, and have them do what folds share; return if the folds go there too.

        Where all layers are frozen, features are made on the workers and kept here, and folds are
        trained on them by this machine. Where layers are trained, or each fold has frozen work of
        its own, folds are trained on the workers.

        Raises
        ------
        EngineError
            If the workers differ from this process.
        """
        if self.engine is None:
            return False
        from fundus.data.inputs import as_images
        from fundus.distributed.agreement import check_workers
        from fundus.distributed.shards import Task
        from fundus.frozen.prepare import draw_seed, prepare
        from fundus.transfer.features import FeatureExtractor
        from fundus.transfer.parameters import Parameters

        parameters, images = Parameters.of(classifier), as_images(graded.frame)
        if parameters.frozen.freeze == "all" and parameters.samples.augmentation is None:
            names = FeatureExtractor().get_params()
            extractor = FeatureExtractor(**{k: getattr(classifier, k) for k in names}).fit(images)
            if not extractor.frozen_.normaliser.state:  # one that was fitted is each fold's own
                for data in (graded, held_back):
                    if data is not None:
                        self._extract(as_images(data.frame), extractor, screen)
                return False
        frozen = prepare(parameters.frozen, images, seed=draw_seed(classifier.random_state))
        check_workers(self.engine, Task(frozen, frozen.key(), classifier.cache, None), images)
        return True

    def _extract(self, images: Images, extractor: FeatureExtractor, screen: Screen) -> None:
        from fundus.distributed.extraction import extract_on

        assert self.engine is not None
        found = extract_on(self.engine, images, extractor, worker_cache=extractor.cache)
        n_made, n_workers = len(images) - found.n_known, len(found.workers)
        screen.note(
            f"{self.engine.name}: features of {n_made} photographs, by {n_workers} workers; "
            f"{found.n_known} were known."
        )

    @contextmanager
    def folds(self, ensemble: Any) -> Iterator[None]:
        """Have joblib's jobs run on the workers.

        Raises
        ------
        EngineError
            If workers end in the folds again and again.
        """
        assert self.engine is not None
        try:
            with self.engine.joblib():
                yield
        except self.engine.deaths as error:
            raise EngineError(
                f"Workers of {self.engine.name} ended in the folds of {ensemble.estimator!r} "
                f"({error}); most often the system ends what takes too much memory: use workers "
                "with more memory and fewer threads, or a smaller --batch-size."
            ) from None
