"""`push_to_hub`: a saved model, and its card, as a repository of the Hub."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from fundus._version import __version__
from fundus.exceptions import (
    BundleError,
    DataWarning,
    HubError,
    Mention,
    Message,
    warn_caller,
)
from fundus.hub.address import SCHEME, HubModel, hub_model
from fundus.hub.client import (
    ANSWER_SECONDS,
    api,
    asking,
    bars,
    check_extra,
    endpoint,
    why_offline,
)
from fundus.modelspecs import ModelSpec
from fundus.parameters import invalid
from fundus.plugins.models import opened, ready_model
from fundus.reporting.record import RunRecord, read_record
from fundus.reporting.run_files import METRICS, MODEL
from fundus.saving.bundle import MANIFEST, load, open_bundle, read_model, save
from fundus.sharing.card import hub_card, is_ours, scores_of, text_of

#: The Hub's name of a card.
CARD = "README.md"

#: Settings of a training that are paths, relative ones too.
_PLACES = {"data", "out", "run", "image_dir", "cache_dir", "validation", "resume", "weights_dir"}
_LICENCE = re.compile("[a-z0-9][a-z0-9.-]*")


def push_to_hub(
    model: Any,
    name: str,
    *,
    private: bool = True,
    licence: str | None = None,
    message: str | None = None,
    replace_card: bool = False,
    trusted: Sequence[str] = (),
) -> str:
    """Push a fitted model to the Hub, with a card, as one commit.

    What is pushed are the files of the saved model, without code, and the card. Paths in its record
    and among its parameters, such as that of its photographs, are shortened to their last part.

    Parameters
    ----------
    model : estimator or path
        Fitted; or the folder of a run or of a saved model, or the name of a ready grader. The card
        of a run has its data, scores and limits.
    name : str
        ``"hf://owner/name"`` or ``"owner/name"``. The repository is made if there is none.
    private : bool, default=True
        Whether a new repository can be seen by its owner alone. To push into one that everybody
        sees, this must be False.
    licence : str or None, default=None
        As the Hub names it, such as "mit" or "cc-by-nc-4.0". A public model must have one.
    message : str or None, default=None
        Of the commit; by default the version of this library.
    replace_card : bool, default=False
        Whether to replace a card that this function has not written.
    trusted : sequence of str, default=()
        As in `load`: the model is loaded before it is pushed, as those who fetch it do.

    Returns
    -------
    str
        The name with the commit, which `fundus.load` takes: the same model always.

    Raises
    ------
    InvalidParameterError
        If the name or the licence is not valid, or a public model has no licence.
    BundleError
        If there is no such model, or it cannot be saved or loaded again.
    HubError
        If there is no network or no token, or the Hub refuses it.
    MissingDependencyError
        If ``huggingface_hub`` is missing.

    Examples
    --------
    >>> import fundus
    >>> fundus.push_to_hub("runs/eyes", "grader")
    Traceback (most recent call last):
    ...
    fundus.exceptions.InvalidParameterError: The name of a model on the Hub must be hf://...
    """
    target = _target(name)
    record = _record_of(model)
    if licence is None and isinstance(record, ModelSpec):
        known = record.licence.lower()
        licence = known if _LICENCE.fullmatch(known) else "other"
    _check_licence(licence, private=private)
    check_extra()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "bundle"
        fitted = _write(model, folder, trusted)
        _check_may_push(target)
        scores, photographs = {}, ""
        if isinstance(record, RunRecord):
            n = record.metrics["data"]["n_images"]
            scores = scores_of(record)
            photographs = f"{n} photographs of the training, out of fold"
        text = text_of(record, fitted, target.repo.split("/")[1])
        card = hub_card(target.repo, text, licence=licence, scores=scores, photographs=photographs)
        commit = _push(
            folder, target, card, private=private, message=message, replace_card=replace_card
        )
    return str(target.at(commit))


def _target(name: str) -> HubModel:
    text = str(name)
    found = hub_model(text if text.startswith(SCHEME) else SCHEME + text)
    if found is None or found.revision is not None:
        raise invalid("push_to_hub", "name", "hf://owner/name, without a revision", name)
    return found


def _check_licence(licence: str | None, *, private: bool) -> None:
    if licence is None and not private:
        raise invalid(
            "push_to_hub",
            "licence",
            "given for a public model, which nobody may use without one, such as 'mit' or "
            "'cc-by-nc-4.0'",
            None,
        )
    if licence is not None and not _LICENCE.fullmatch(licence):
        expected = "a licence as the Hub names it, such as 'mit', 'apache-2.0' or 'other'"
        raise invalid("push_to_hub", "licence", expected, licence)


def _is_place(model: Any) -> bool:
    return isinstance(model, (str, os.PathLike))


def _record_of(model: Any) -> RunRecord | ModelSpec | None:
    """What is known of a model beside what it is."""
    if not _is_place(model):
        return None
    entry = ready_model(model)
    if entry is not None:
        spec: ModelSpec = entry.spec
        return spec
    run = Path(model)
    if not (run / METRICS).is_file():
        return None
    try:
        adapted = "adapted" in json.loads((run / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        adapted = False
    return None if adapted else read_record(run)  # which tells what is wrong with the document


def _write(model: Any, folder: Path, trusted: Sequence[str]) -> Any:
    """Write the bundle that is pushed, and return the model that it holds."""
    if not _is_place(model):
        whole = folder.with_name("saved")
        save(model, whole)
        _copy(whole, folder)
        return load(folder, trusted=trusted)
    if hub_model(model) is not None:
        raise BundleError(
            f"{os.fspath(model)!r} is on the Hub already: give a model of this machine, or load it "
            "and push what is loaded."
        )
    entry = ready_model(model)
    if entry is not None:
        with opened(entry) as place:
            _copy(place, folder)
    else:
        path = Path(model)
        _copy(path / MODEL if (path / METRICS).is_file() else path, folder)
    return load(folder, trusted=trusted)  # whoever fetches it does the same


def _copy(source: Path, folder: Path) -> None:
    """Copy the files that the manifest of a saved model lists, with shorter paths in its record."""
    import hashlib

    reader = open_bundle(source)
    record = read_model(reader)
    for part in ("about", "model"):
        record[part] = _without_places(record[part])
    folder.mkdir()
    digests = {}
    for name in sorted(reader.digests):
        data = reader.read(name)
        if name == "model.json":
            data = json.dumps(record, indent=1, allow_nan=True).encode()
        (folder / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    manifest = {"format": record["format"], "files": digests}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _without_places(value: Any, key: str = "") -> Any:
    """Shorten paths, which name people and clinics, to their last part."""
    if isinstance(value, dict):
        return {name: _without_places(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_places(part, key) for part in value]
    if isinstance(value, str) and hub_model(value) is None:
        for kind in (PurePosixPath, PureWindowsPath):
            here = key in _PLACES or kind(value).is_absolute() or value.startswith("~")
            if here and kind(value).name:
                value = kind(value).name
    return value


def _check_may_push(target: HubModel) -> None:
    """Refuse before anything is asked where there is no network or no token."""
    from huggingface_hub import get_token

    if why := why_offline():
        raise HubError(
            f"{str(target)!r} cannot be pushed: {why}. Try again with a network; "
            "FUNDUS_NETWORK_SECONDS=15 waits longer for a connection."
        )
    if not get_token():
        raise HubError(
            f"{str(target)!r} cannot be pushed, since this machine has no token of the Hub: make "
            f"one with the right to write at {endpoint()}/settings/tokens, and log in by `hf auth "
            "login` or set HF_TOKEN."
        )


def _push(
    folder: Path,
    target: HubModel,
    card: str,
    *,
    private: bool,
    message: str | None,
    replace_card: bool,
) -> str:
    """Make the repository if there is none, and push; return the commit."""
    from huggingface_hub import CommitOperationAdd, hf_hub_download
    from huggingface_hub.errors import RepositoryNotFoundError

    client = api()
    with asking(target, "written"), bars():
        keeps_card = False
        try:
            there = client.model_info(target.repo, timeout=ANSWER_SECONDS)
        except RepositoryNotFoundError:
            client.create_repo(target.repo, private=private)
        else:
            if private and not there.private:
                meant = Mention("private", text="private=False")
                raise HubError(
                    Message(
                        f"{str(target)!r} is public, so what is pushed there can be seen by "
                        f"everybody. If that is meant, pass {meant}; or make it private, or choose "
                        "another name.",
                        meant,
                    )
                )
            if there.private and not private:
                warn_caller(
                    f"{str(target)!r} is private, and stays so: its page on the Hub changes that.",
                    DataWarning,
                )
            if CARD in {file.rfilename for file in there.siblings or ()} and not replace_card:
                old = hf_hub_download(target.repo, CARD, revision=there.sha, endpoint=endpoint())
                keeps_card = not is_ours(Path(old))
        files: dict[str, Any] = {path.name: path for path in sorted(folder.iterdir())}
        if not keeps_card:
            files[CARD] = card.encode()
        done = client.create_commit(
            target.repo,
            [CommitOperationAdd(path_in_repo=n, path_or_fileobj=f) for n, f in files.items()],
            commit_message=message or f"A model of fundus-zoo {__version__}",
        )
    return str(done.oid)
