"""What is registered, by kind and name, and what became of each plugin."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fundus.exceptions import UnknownNameError

Kind = Literal["backbone", "head", "preprocessor", "layout", "model", "metric", "report-section"]

#: Name of the plugin that ships, and its distribution.
BUILTIN = "builtin"
OWN = "fundus-zoo"

#: The ``backbone`` of 2-D features that are there already; no network, so it has no entry.
PRECOMPUTED = "precomputed"


@dataclass(frozen=True)
class PluginStatus:
    """What became of one plugin.

    Parameters
    ----------
    name : str
        Name of its entry point.
    distribution, version : str
        The installed package it came with.
    state : {"loaded", "failed", "disabled"}
    error : str
        One line; empty unless the state is ``"failed"``.
    details : str
        The traceback of the failure.
    offers : tuple of str
        What it registered, as ``"backbone:name"``.
    """

    name: str
    distribution: str
    version: str
    state: Literal["loaded", "failed", "disabled"]
    error: str = ""
    details: str = ""
    offers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A registered spec and the plugin it came from."""

    plugin: str
    distribution: str
    spec: Any

    @property
    def qualified_name(self) -> str:
        """``plugin/name``, by which the entry can always be reached."""
        return f"{self.plugin}/{self.spec.name}"

    @property
    def lasting_name(self) -> str:
        """The name that means this entry whatever is installed later."""
        return self.spec.name if self.plugin == BUILTIN else self.qualified_name


@dataclass
class Registry:
    """All specs by kind and name, and the status of every plugin."""

    entries: dict[Kind, list[Entry]] = field(
        default_factory=lambda: {kind: [] for kind in get_args(Kind)}
    )
    statuses: list[PluginStatus] = field(default_factory=list)

    def find(self, kind: Kind, name: str) -> Entry:
        """Look an entry up by short or qualified name, ``"vgg16"`` or ``"plugin/vgg16"``.

        Raises
        ------
        UnknownNameError
            If there is no such name, several plugins offer it, or it stands for no network.
        """
        if kind == "backbone" and name == PRECOMPUTED:
            raise UnknownNameError(
                f"There is no backbone called {name!r} that runs on images: the name stands for "
                "2-D features in X, and only TransferClassifier takes it, in Python. Give the name "
                "of a network, such as 'efficientnet_lite0'."
            )
        entries = self.entries[kind]
        for entry in entries:
            if name == entry.qualified_name or (
                entry.plugin == BUILTIN and name == entry.spec.name
            ):
                return entry
        named = [entry for entry in entries if entry.spec.name == name]
        if len(named) == 1:
            return named[0]
        if named:
            offers = " and ".join(repr(entry.qualified_name) for entry in named)
            raise UnknownNameError(f"The {kind} name {name!r} is ambiguous: give {offers} in full.")
        raise UnknownNameError(self._unknown(kind, name))

    def _unknown(self, kind: Kind, name: str) -> str:
        names = sorted([*self.names(kind), *([PRECOMPUTED] if kind == "backbone" else [])])
        message = f"There is no {kind} called {name!r}."
        near = difflib.get_close_matches(str(name).lower(), names, n=3)
        if near:
            message += f" Did you mean {' or '.join(repr(n) for n in near)}?"
        else:
            message += f" Registered: {', '.join(names) or 'none'}."
        return message + self.left_out()

    def left_out(self) -> str:
        """Say which plugins are not loaded, with a space before it; empty where all are."""
        said = ""
        failed = [f"{s.name} ({s.error.rstrip('.')})" for s in self.statuses if s.state == "failed"]
        if failed:
            said += f" Plugins that failed to load: {'; '.join(failed)}."
        disabled = [s.name for s in self.statuses if s.state == "disabled"]
        if disabled:
            said += f" Plugins that FUNDUS_DISABLE_PLUGINS leaves out: {', '.join(disabled)}."
        return said

    def names(self, kind: Kind) -> list[str]:
        """Names by which entries can be reached: short where unambiguous, else qualified."""
        entries = self.entries[kind]
        builtin = {e.spec.name for e in entries if e.plugin == BUILTIN}
        if kind == "backbone":
            builtin.add(PRECOMPUTED)
        counts = Counter(entry.spec.name for entry in entries)
        names = {
            e.spec.name
            if e.plugin == BUILTIN or (e.spec.name not in builtin and counts[e.spec.name] == 1)
            else e.qualified_name
            for e in entries
        }
        return sorted(names)
