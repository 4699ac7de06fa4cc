"""``fundus plan``: shows what ``fundus train`` with the same options would compute and keep."""

from __future__ import annotations

from fundus.cli.command import command
from fundus.cli.screen import Screen
from fundus.cli.settings import Settings


def show_plan(settings: Settings) -> None:
    """Show the values that a training has, what it would compute and keep, and how long that takes.

    Two batches are run and kept to estimate the time; nothing is trained.
    """
    from fundus.cli.choosing import choose
    from fundus.cli.results import describe
    from fundus.cli.training import load_data, make_classifier
    from fundus.transfer.plan import plan_table

    screen = Screen(json=settings.json)
    chosen = choose(settings)
    chosen.tell(screen)
    classifier = make_classifier(chosen, verbose=False)
    graded, _ = load_data(chosen.settings)
    screen.note(describe(graded))
    found = classifier.plan(graded.frame)
    screen.emit({**found.to_dict(), "recipe": chosen.to_dict()})
    screen.show(chosen.to_table(), plan_table(found))


plan = command(show_plan, plan=True)
