"""Names of models on the Hub: ``hf://owner/name`` and ``hf://owner/name@revision``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from fundus.exceptions import InvalidParameterError

SCHEME = "hf://"

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"(?P<owner>{_PART})/(?P<name>{_PART})(@(?P<revision>[\w./-]{{1,255}}))?")
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubModel:
    """A repository of the Hub, and which of its revisions.

    Parameters
    ----------
    repo : str
        ``"owner/name"``.
    revision : str or None, default=None
        A commit, branch or tag; ``None`` for none given.

    Examples
    --------
    >>> print(HubModel("clinic/grader", "v1"))
    hf://clinic/grader@v1
    """

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo}" + (f"@{self.revision}" if self.revision else "")

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a whole commit, which never changes."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> HubModel:
        """Return the same model at a commit."""
        return replace(self, revision=commit)


def hub_model(name: str | os.PathLike[str]) -> HubModel | None:
    """Return the model of the Hub that a name stands for.

    Parameters
    ----------
    name : str or path
        A path too, which has one slash of two.

    Returns
    -------
    HubModel or None
        ``None`` where the name does not begin with ``hf://``.

    Raises
    ------
    InvalidParameterError
        If it does, and the rest is not what it must be.

    Examples
    --------
    >>> hub_model("hf://clinic/grader@v1")
    HubModel(repo='clinic/grader', revision='v1')
    >>> hub_model("runs/eyes") is None
    True
    """
    text = os.fspath(name)
    if not isinstance(name, str):
        text = text.replace(os.sep, "/").replace("hf:/", SCHEME, 1)
    if not text.startswith(SCHEME):
        return None
    found = _ADDRESS.fullmatch(text.removeprefix(SCHEME))
    parts = re.split("[/@]", text.removeprefix(SCHEME), maxsplit=2)
    if found is None or ".." in text or any("--" in part for part in parts[:2]):
        raise InvalidParameterError(
            f"The name of a model on the Hub must be {SCHEME}owner/name or {SCHEME}owner/name"
            f"@revision, where the revision is a commit, a branch or a tag. Got {text!r} instead."
        )
    return HubModel(f"{found['owner']}/{found['name']}", found["revision"])


def name_of(run: str | os.PathLike[str]) -> str:
    """Return the name of a run for people and records: of one on the Hub, what commands take.

    Examples
    --------
    >>> name_of("runs/eyes")
    'runs/eyes'
    """
    return str(hub_model(run) or os.fspath(run))
