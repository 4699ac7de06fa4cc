"""``fundus train``: cross-validate a backbone and a head, and keep the models of all folds."""

from __future__ import annotations

import time

from fundus.cli.command import command
from fundus.cli.runs import METRICS
from fundus.cli.screen import Screen
from fundus.cli.settings import Settings


def run_training(settings: Settings) -> None:
    """Cross-validate a model, and keep the models of all folds."""
    from fundus.cli.choosing import choose
    from fundus.cli.data import refuse_missing
    from fundus.cli.engine import check_engine, engine_for
    from fundus.cli.resume import begun, complete_run

    started = time.perf_counter()
    screen = Screen(json=settings.json, quiet=settings.quiet)
    # what is wrong is told before what is slow is imported; a complete run needs no data
    if not settings.resume:
        refuse_missing(settings.data, settings.validation)
    chosen = choose(settings)
    settings = chosen.settings
    check_engine(settings)
    if (document := complete_run(settings)) is not None:
        screen.note(f"The run in {settings.out} is complete: there is nothing to go on with.")
        screen.emit(document)
        screen.show(f"Its scores are in {METRICS}.")
        return
    chosen.tell(screen)
    from fundus.cli.training import fit_folds, load_data, make_classifier

    classifier = make_classifier(chosen, verbose=not screen.silent)
    with begun(settings) as run, engine_for(settings) as engine:
        graded, held_back = load_data(settings)
        from fundus.cli.results import describe, write_run
        from fundus.cli.sites import fit_sites, plan_sites

        screen.note(describe(graded))
        sites = plan_sites(graded, settings)
        folds_there = engine.prepare(classifier, graded, held_back, screen)
        model = fit_folds(classifier, graded, settings, run, engine if folds_there else None)
        by_site = fit_sites(sites, classifier, graded, settings, run)
        results = write_run(run, model, graded, held_back, by_site, settings, started)
    screen.emit(results.to_dict())
    screen.show(*results.tables())


train = command(run_training)
