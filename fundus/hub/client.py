"""What is asked of the Hub, by huggingface_hub, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from fundus.exceptions import FundusError, HubError, MissingDependencyError
from fundus.hub.address import SCHEME, HubModel
from fundus.runtime.reach import VARIABLE, why_no_connection
from fundus.runtime.verbosity import shows_progress

#: How long the Hub may take for an answer that is no file, in seconds.
ANSWER_SECONDS = 15

_LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"


def check_extra() -> None:
    """Refuse names of the Hub where huggingface_hub is missing.

    Raises
    ------
    MissingDependencyError
    """
    if find_spec("huggingface_hub") is None:
        raise MissingDependencyError(
            "Models on the Hub need huggingface_hub, which this Python lacks: install it with "
            "pip install 'fundus-zoo[hub]'."
        )


def endpoint() -> str:
    """Return the address of the Hub, which HF_ENDPOINT may set."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def why_offline() -> str:
    """Say in one clause why the Hub cannot be asked; empty where it can."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids to ask it"
    return why_no_connection(endpoint())


def api() -> Any:
    """Return the client."""
    from huggingface_hub import HfApi

    from fundus._version import __version__

    return HfApi(endpoint=endpoint(), library_name="fundus-zoo", library_version=__version__)


def out_of_reach(model: HubModel, why: str, what: str) -> HubError:
    """Return the error where the Hub cannot be asked.

    Parameters
    ----------
    model : HubModel
    why : str
        From `why_offline`.
    what : str
        What this machine lacks.
    """
    return HubError(
        f"The model {str(model)!r} cannot be had: {why}, and {what}. Try again with a network "
        f"({VARIABLE}=15 waits longer for a connection), or copy the cache of the Hub from a "
        "machine that has loaded it."
    )


@contextmanager
def bars() -> Iterator[None]:
    """Show the client's bars of progress only where this library shows its own."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shows_progress() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def asking(model: HubModel, doing: str) -> Iterator[None]:
    """Turn errors of the client into one that says what to do.

    Parameters
    ----------
    model : HubModel
    doing : {"read", "written"}
    """
    from huggingface_hub import errors

    try:
        yield
    except FundusError:
        raise
    except errors.GatedRepoError as error:
        raise HubError(
            f"The model {str(model)!r} is gated: accept its conditions at {endpoint()}/"
            f"{model.repo}, and {_LOG_IN}."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"The model {SCHEME + model.repo!r} has no revision {model.revision!r} on the Hub: "
            "give a commit, a branch or a tag that it has, or leave it out."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"There is no model {SCHEME + model.repo!r} on the Hub, or it is private and "
            f"{_token()} may not read it: check the name, or {_LOG_IN}."
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise HubError(_told(model, doing, status, error)) from error
    except ValueError as error:  # as of metadata in a card
        text = " ".join(str(error).split())[:300]
        raise HubError(
            f"The Hub does not accept what {str(model)!r} would have, so it cannot be {doing} "
            f"({text}): give a licence by the name that the Hub has for it, such as 'mit' or "
            "'other'."
        ) from error
    # the client's network library differs from release to release, and so do its errors
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise HubError(
            f"The model {str(model)!r} cannot be {doing} ({type(error).__name__}: {text}): try "
            "again."
        ) from error


def _told(model: HubModel, doing: str, status: int | None, error: Exception) -> str:
    if status == 401:
        return (
            f"The Hub does not accept {_token()}, so {str(model)!r} cannot be {doing}: {_LOG_IN} "
            "to one that is valid."
        )
    if status == 403:
        return (
            f"{_token().capitalize()} may not be used for this, so {str(model)!r} cannot be "
            f"{doing}: make one with the right to do it at {endpoint()}/settings/tokens, or ask "
            "the owner."
        )
    text = " ".join(str(error).split())[:300]
    return f"The Hub answered {status}, so {str(model)!r} cannot be {doing} ({text}): try later."


def _token() -> str:
    from huggingface_hub import get_token

    return "this machine's token" if get_token() else "this machine, which has no token,"
