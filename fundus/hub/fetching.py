"""Files of a model on the Hub, in the Hub's own cache on this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fundus.exceptions import (
    BundleError,
    FundusError,
    HubError,
    UnpinnedWarning,
    warn_caller,
)
from fundus.hub.address import HubModel
from fundus.hub.client import (
    ANSWER_SECONDS,
    api,
    asking,
    bars,
    check_extra,
    endpoint,
    out_of_reach,
    why_offline,
)
from fundus.plugins.models import MANIFEST

#: The branch that is meant where no revision is given.
MAIN = "main"

#: Largest manifest, in bytes.
MOST_MANIFEST = 256 << 20


def pinned(model: HubModel) -> HubModel:
    """Return a model at the commit that its branch or tag has now.

    Where the Hub cannot be asked, it is the commit that this machine had for it last.

    Parameters
    ----------
    model : HubModel
        One that has a whole commit is returned as it is, and nobody is asked.

    Raises
    ------
    MissingDependencyError
        If huggingface_hub is missing.
    HubError
        If there is no such model or revision, or the Hub cannot be asked and the cache has none.

    Warns
    -----
    UnpinnedWarning
        If there was no whole commit; it says which one is used.
    """
    check_extra()
    if model.is_pinned:
        return model
    why = why_offline()
    found = model.at(_known_commit(model, why) if why else _commit_now(model))
    old = f" The Hub cannot be asked, since {why}: this is the last one of this machine."
    warn_caller(
        f"{str(model)!r} may be another model tomorrow. It is {str(found)!r} now: write that name "
        "to have the same model always." + old * bool(why),
        UnpinnedWarning,
    )
    return found


def fetched(model: HubModel, listed: Callable[[Path], Mapping[str, str]], *, most: int) -> Path:
    """Return the folder in which the files of a bundle lie, in the Hub's cache, as links.

    Only the manifest and the files that it lists are fetched. Of each, the size is asked first,
    and where the Hub knows its SHA-256, this must be the manifest's. Nobody is asked where all of
    them are on this machine.

    Parameters
    ----------
    model : HubModel
        At a commit.
    listed : callable
        Takes the folder with the manifest in it, and returns the SHA-256 of each file by its name.
    most : int
        Largest size of all files together, in bytes.

    Raises
    ------
    BundleError
        If it is no bundle, is larger, or the Hub has other files than the manifest says.
    HubError
        If they cannot be fetched.
    """
    check_extra()
    folder = _cached(model, [MANIFEST])
    _check_commit(model, folder)
    if folder is not None and _cached(model, listed(folder)) is not None:
        return folder
    why = why_offline()
    if why:
        lacking = "its files are not all in the cache of the Hub on this machine"
        raise out_of_reach(model, why, lacking)
    there = _asked(model)
    folder = _fetch(model, _manifest(model, there), MOST_MANIFEST)
    _check_commit(model, folder)
    total = sum(there[name].size or 0 for name in listed(folder) if name in there)
    if total > most:
        raise BundleError(
            f"The files of {str(model)!r} must have at most {most:,} bytes together. The Hub says "
            f"{total:,}: it is no model of fundus-zoo that this machine should fetch."
        )
    for name, digest in listed(folder).items():
        if name not in there:
            raise BundleError(
                f"The model {str(model)!r} lacks the file {name!r}, which its {MANIFEST} lists: "
                "ask its owner to push it again."
            )
        known = _sha256_of(there[name])
        if known is not None and known != digest:
            raise BundleError(
                f"The file {name!r} of {str(model)!r} must have the SHA-256 {digest}, as its "
                f"{MANIFEST} says. The Hub has {known} instead: ask its owner to push it again."
            )
        _fetch(model, there[name], most)
    return folder


@contextmanager
def told_of(model: HubModel) -> Iterator[None]:
    """Have errors say whose model they are about."""
    try:
        yield
    except FundusError as error:
        if str(model) in str(error):
            raise
        raise type(error)(f"The model {str(model)!r} cannot be used: {error}") from error


def _check_commit(model: HubModel, folder: Path | None) -> None:
    """Refuse a branch or tag that is named like a commit, and leads to another one."""
    if folder is not None and folder.name != model.revision:
        raise HubError(
            f"{str(model)!r} leads to the commit {folder.name!r}: its owner has given a branch or "
            "a tag the name of a commit. Write the commit that you mean."
        )


def _commit_now(model: HubModel) -> str:
    """Fetch the manifest by the name of a branch, so that the cache knows the branch's commit."""
    manifest = _manifest(model, _asked(model))
    return _fetch(model, manifest, MOST_MANIFEST).name  # the cache has a folder for each commit


def _manifest(model: HubModel, there: dict[str, Any]) -> Any:
    if MANIFEST not in there:
        raise BundleError(
            f"The model {str(model)!r} is no saved model of fundus-zoo: its repository has no "
            f"{MANIFEST}. `fundus push` makes such repositories."
        )
    return there[MANIFEST]


def _known_commit(model: HubModel, why: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    revision = model.revision or MAIN
    try:
        found = hf_hub_download(model.repo, MANIFEST, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        lacking = "this machine has not loaded it before"
        raise out_of_reach(model, why, lacking) from None
    return Path(found).parent.name


def _asked(model: HubModel) -> dict[str, Any]:
    """Ask the Hub which files a model has, and of what size."""
    with asking(model, "read"):
        found = api().model_info(
            model.repo, revision=model.revision, files_metadata=True, timeout=ANSWER_SECONDS
        )
    return {file.rfilename: file for file in found.siblings or ()}


def _cached(model: HubModel, names: Collection[str]) -> Path | None:
    """Return the folder of a commit if the files are in it; nobody is asked."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(model.repo, name, revision=model.revision) for name in names]
    if not all(isinstance(path, str) for path in found):
        return None
    return Path(str(found[0])).parent


def _fetch(model: HubModel, file: Any, most: int) -> Path:
    """Fetch a file of which the Hub has said the size; return its folder."""
    from huggingface_hub import hf_hub_download

    if file.size is None or not 0 <= file.size <= most:
        raise BundleError(
            f"The file {file.rfilename!r} of {str(model)!r} must have at most {most:,} bytes. The "
            f"Hub says {file.size} instead: it is no saved model of fundus-zoo."
        )
    with asking(model, "read"), bars():
        path = hf_hub_download(
            model.repo, file.rfilename, revision=model.revision or MAIN, endpoint=endpoint()
        )
    return Path(path).parent


def _sha256_of(file: Any) -> str | None:
    """The SHA-256 that the Hub knows of a large file."""
    lfs = getattr(file, "lfs", None)
    found = lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)
    return str(found) if found else None
