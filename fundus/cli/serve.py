"""``fundus serve``: a page, and an HTTP interface, that grade photographs with a run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen

if TYPE_CHECKING:
    from fundus.cli.runs import Run
    from fundus.serving.limits import ServingLimits

_ACCESS, _LIMITS = "Access", "Limits"


def serve(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Folder that train made, or a saved model."),
    ],
    host: Annotated[
        str, opt.option("Address to listen at; only this machine reaches 127.0.0.1.", _ACCESS)
    ] = "127.0.0.1",
    port: Annotated[
        int, opt.option("Port to listen at; 0 for any that is free.", _ACCESS, min=0, max=65535)
    ] = 8000,
    token: Annotated[
        str | None,
        opt.option(
            "What requests must bring as 'Authorization: Bearer …', at least 16 characters; the "
            "environment variable keeps it out of lists of processes.",
            _ACCESS,
            show_default=False,
            envvar="FUNDUS_SERVE_TOKEN",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        opt.option(
            "Further name under which the server may be asked, such as that of a proxy; may be "
            "repeated.",
            _ACCESS,
        ),
    ] = None,
    max_megabytes: Annotated[
        float, opt.option("Largest file of a photograph, in MiB.", _LIMITS, min=0.01, max=2000)
    ] = 50,
    max_megapixels: Annotated[
        float, opt.option("Most pixels of a photograph, in millions.", _LIMITS, min=0.01)
    ] = 60,
    queue: Annotated[
        int, opt.option("Photographs that may wait for the model.", _LIMITS, min=1)
    ] = 64,
    timeout: Annotated[
        float,
        opt.option("Seconds for a photograph to be graded, once it is here.", _LIMITS, min=0.1),
    ] = 60,
    upload_timeout: Annotated[
        float, opt.option("Seconds for a request to arrive.", _LIMITS, min=0.1)
    ] = 30,
    quiet: opt.Quiet = False,
) -> None:
    """Open a page on which photographs are graded, with an HTTP interface beside it.

    Photographs stay in memory and are forgotten when they are graded; nothing leaves the machine.
    Ctrl-C ends it.
    """
    from fundus.serving.extra import check_extra

    check_extra()
    from fundus.exceptions import DataWarning
    from fundus.serving.app import make_app
    from fundus.serving.limits import ServingLimits
    from fundus.serving.served import ServedModel
    from fundus.serving.server import address_of, bound, is_loopback, make_server, names_of

    screen = Screen(quiet=quiet)
    # that a file may be no photograph is told to whoever sent it
    warnings.filterwarnings("ignore", "The DICOM file", DataWarning)
    _check_token(token, is_loopback=is_loopback(host), host=host)
    size = round(max_megabytes * 2**20)
    limits = ServingLimits(
        max_bytes=size,
        max_pixels=round(max_megapixels * 1e6),
        max_files=min(ServingLimits.max_files, queue),  # more would never find room
        max_request=max(ServingLimits.max_request, size + 2**16),
        max_held=max(ServingLimits.max_held, 2 * size),
        max_waiting=queue,
        upload_seconds=upload_timeout,
        answer_seconds=timeout,
    )
    _check_limits(limits)
    with bound(host, port) as taken:
        screen.note(f"Loading {run} …")
        trained = model_of(run)
        served = ServedModel(trained.model, trained.class_names, Path(run).name or run)
        served.warm_up()
        names, everywhere = names_of(host, allow_host or ())
        app, service = make_app(served, limits, hosts=names, addresses=everywhere, token=token)
        try:
            # said before it listens; connections of the moment in between wait
            taken.listen()
            screen.show(f"Grading with {run} at {address_of(taken)}", "Ctrl-C ends it.")
            make_server(app, limits).run([taken])
        except KeyboardInterrupt:  # which uvicorn raises again after it has ended in order
            screen.note("The server has ended.")
        finally:
            service.close()


def model_of(argument: str) -> Run:
    """Load the model that the argument of ``serve`` means.

    Parameters
    ----------
    argument : str
        Folder of a run, or of a saved model.

    Returns
    -------
    Run

    Raises
    ------
    BundleError
        If there is none, or it cannot be used.
    """
    from fundus.cli.runs import open_run

    return open_run(opt.run_of(argument), None, verbose=False)


def _check_limits(limits: ServingLimits) -> None:
    """Refuse limits above those of all images, which would hold instead without a word."""
    from fundus.images.limits import image_limits

    for option, name, unit in (
        ("--max-megabytes", "max_bytes", 2**20),
        ("--max-megapixels", "max_pixels", 10**6),
    ):
        asked, known = getattr(limits, name), getattr(image_limits(), name)
        if known is not None and asked > known:
            raise typer.BadParameter(
                f"no image of more than {known / unit:g} is read here: ask for at most that, or "
                f"raise it by the environment variable FUNDUS_IMAGE_LIMITS ({name}=…).",
                param_hint=option,
            )


def _check_token(token: str | None, *, is_loopback: bool, host: str) -> None:
    if token is None and not is_loopback:
        raise typer.BadParameter(
            f"others reach {host}, so the server needs one: set FUNDUS_SERVE_TOKEN to a long "
            "random text, such as python -c 'import secrets; print(secrets.token_urlsafe())' "
            "prints, or listen at 127.0.0.1.",
            param_hint="--token",
        )
    if token is not None and token != token.strip():
        raise typer.BadParameter(
            "it begins or ends with a space, which requests cannot bring: leave the space out.",
            param_hint="--token",
        )
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable()):
        raise typer.BadParameter(
            f"it must have at least 16 printable ASCII characters. Got {len(token)} characters.",
            param_hint="--token",
        )
