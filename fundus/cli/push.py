"""``fundus push``: a run's model, with its card, to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen

#: The ``kind`` of the JSON document.
KIND = "fundus push"


def push(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Folder that train made, a saved model, or a name that 'fundus models' lists.",
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Where to: hf://owner/name.")],
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Everybody may see it; by default a new repository is private.",
        ),
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            help="As the Hub names it, such as mit or cc-by-nc-4.0; a public model must have one.",
            show_default=False,
        ),
    ] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.", show_default=False)] = None,
    replace_card: Annotated[
        bool,
        typer.Option("--replace-card", help="Replace a card that this command has not written."),
    ] = False,
    trusted: opt.Trust = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Push a run's model to the Hub, with a model card, as one commit.

    The files of the saved model are pushed, which hold no photograph and no code, and SHA-256 of
    the training photographs if it has them. It needs the extra 'hub', and a token of the Hub.
    """
    from fundus.plugins.models import ready_model
    from fundus.sharing.push import push_to_hub

    screen = Screen(json=json, quiet=quiet)
    path = Path(run)
    place = run if ready_model(run) is not None or run.startswith("hf://") else path
    if isinstance(place, Path):
        from fundus.cli.runs import folder_of_model

        folder_of_model(opt.run_of(run))  # which says what is wrong with a run that is not complete
    screen.note(f"Pushing {run} to {name} …")
    found = push_to_hub(
        place,
        name,
        private=not public,
        licence=licence,
        message=message,
        replace_card=replace_card,
        trusted=tuple(trusted or ()),
    )
    screen.emit({"kind": KIND, "run": run, "name": found})
    screen.show(f"Pushed: {found}", f"Grade with it: fundus predict {found} PHOTOGRAPHS...")
