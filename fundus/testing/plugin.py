"""`check_plugin`: checks every entry of an installed package, each check separately."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from importlib import metadata
from typing import Any

from fundus.exceptions import UnknownNameError
from fundus.hookspecs import GROUP
from fundus.parameters import invalid
from fundus.plugins.discovery import canonical
from fundus.plugins.registry import (
    BUILTIN,
    Entry,
    Kind,
    PluginStatus,
    get_registry,
    plugin_statuses,
)
from fundus.testing.backbone import BACKBONE_CHECKS, BackboneCase
from fundus.testing.checks import expect
from fundus.testing.head import HEAD_CHECKS, HeadCase
from fundus.testing.layout import LAYOUT_CHECKS, LayoutCase
from fundus.testing.metric import METRIC_CHECKS, MetricCase
from fundus.testing.model import MODEL_CHECKS, ModelCase
from fundus.testing.preprocessor import PREPROCESSOR_CHECKS, PreprocessorCase
from fundus.testing.report_section import SECTION_CHECKS, SectionCase

Options = Mapping[str, Mapping[str, Any]]

KINDS: dict[Kind, tuple[type, Mapping[str, Callable[[Any], None]]]] = {
    "backbone": (BackboneCase, BACKBONE_CHECKS),
    "head": (HeadCase, HEAD_CHECKS),
    "preprocessor": (PreprocessorCase, PREPROCESSOR_CHECKS),
    "layout": (LayoutCase, LAYOUT_CHECKS),
    "model": (ModelCase, MODEL_CHECKS),
    "metric": (MetricCase, METRIC_CHECKS),
    "report-section": (SectionCase, SECTION_CHECKS),
}

#: Packages that are too slow to import before anything is built.
HEAVY = ("jax", "keras", "tensorflow", "torch")


class NotRunError(Exception):
    """A check could not be run, for a reason that another check has reported already."""


def check_plugin(
    distribution: str, *, options: Options | None = None, only: Collection[str] | None = None
) -> None:
    """Check that an installed package follows the contract, with all of its entries.

    Its plugins must load, without Keras, and every backbone, head, preprocessor, layout, model,
    metric and report section must pass `check_backbone`, `check_head`, `check_preprocessor`,
    `check_layout`, `check_model`, `check_metric` or `check_report_section`. Each check is run,
    whatever the others found. The plugin's module gives arguments of the checks once::

        fundus_checks = {"head:forest": {"takes_weights": False}}

    Parameters
    ----------
    distribution : str
        Name of the package, as `pip` knows it.
    options : mapping of str to mapping, default=None
        More arguments of the checks, by ``"kind:name"``; they override those of the module.
    only : collection of str, default=None
        Entries to check, each as ``"kind:name"``, if a package offers more than can be checked
        here; the plugin itself is checked too. ``None`` is every entry.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message lists every failed check, and what to change.
    UnknownNameError
        If no plugin of a package of this name is installed, or it offers no entry of `only`.
    InvalidParameterError
        If `only` is a single string.

    Examples
    --------
    >>> check_plugin("fundus-nothing")
    Traceback (most recent call last):
    ...
    fundus.exceptions.UnknownNameError: No installed package 'fundus-nothing' offers a plugin. ...
    """
    failures, checks = [], plan_checks(distribution, options=options, only=only)
    for check in checks:
        try:
            check.run()
        except NotRunError:
            continue
        except Exception as error:
            failures.append(f"{check.title}: {_told(error)}")
    if failures:
        raise AssertionError(
            f"{len(failures)} of {len(checks)} checks of {distribution} failed:\n"
            + "\n".join(f"- {failure}" for failure in failures)
        )


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"


@dataclass
class PluginCheck:
    """One check of one entry, by ``"kind:name"``, or of ``"plugin:name"``.

    To run it raises AssertionError, or NotRunError.
    """

    subject: str
    name: str
    run: Callable[[], None]

    @property
    def title(self) -> str:
        """Subject and check."""
        return f"{self.subject}, {self.name}"


def plan_checks(
    distribution: str, *, options: Options | None = None, only: Collection[str] | None = None
) -> list[PluginCheck]:
    """List the checks of an installed package, without running them.

    Parameters
    ----------
    distribution, options, only
        As in `check_plugin`.

    Returns
    -------
    list of PluginCheck
        Checks of one entry follow each other.

    Raises
    ------
    UnknownNameError
        If no plugin of a package of this name is installed, or it offers no entry of `only`.
    InvalidParameterError
        If `only` is a single string.
    """
    statuses = plugin_statuses()
    own = [s for s in statuses if canonical(s.distribution) == canonical(distribution)]
    if not own:
        names = sorted({s.distribution for s in statuses})
        near = difflib.get_close_matches(distribution, names, n=1)
        raise UnknownNameError(
            f"No installed package {distribution!r} offers a plugin. "
            + (f"Did you mean {near[0]!r}? " if near else f"Those that do: {', '.join(names)}. ")
            + f"Install it, with an entry point in the group {GROUP!r} of its pyproject.toml."
        )
    if only is not None:
        _validate_only(only, distribution, own)
    checks = [check for status in own for check in _checks_of(status, options or {})]
    if only is None:
        return checks
    return [c for c in checks if c.subject in only or c.subject.startswith("plugin:")]


def _validate_only(only: Collection[str], distribution: str, own: list[PluginStatus]) -> None:
    if isinstance(only, str):
        raise invalid("check_plugin", "only", "a list of entries, such as ['head:forest']", only)
    if any(status.state != "loaded" for status in own):
        return  # its entries are not known; a check reports that it does not load
    offers = [offer for status in own for offer in status.offers]
    for entry in only:
        if entry not in offers:
            near = [offer for offer in offers if offer.endswith(f":{entry}")]
            near = near or difflib.get_close_matches(str(entry), offers, n=1)
            raise UnknownNameError(
                f"The package {distribution!r} offers no entry {entry!r}; entries go by "
                "'kind:name'. "
                + (f"Did you mean {near[0]!r}?" if near else f"It offers: {', '.join(offers)}.")
            )


def _checks_of(status: PluginStatus, options: Options) -> Iterator[PluginCheck]:
    subject = f"plugin:{status.name}"
    yield PluginCheck(subject, "loads", lambda: _check_loaded(status))
    if status.state != "loaded":
        return
    stated: Any = {}
    if status.name != BUILTIN:
        yield PluginCheck(subject, "imports", lambda: _check_imports(status))
        stated = getattr(_entry_point(status).load(), "fundus_checks", {})
        yield PluginCheck(subject, "options", lambda: _check_options(status, stated, options))
    for kind, entries in get_registry().entries.items():
        for entry in entries:
            if entry.plugin == status.name:
                offer = f"{kind}:{entry.spec.name}"
                case = _Subject(kind, entry, (stated, options))
                for name in KINDS[kind][1]:
                    yield PluginCheck(offer, name, partial(case.run, name))


@dataclass
class _Subject:
    """An entry, and the failures of its checks so far."""

    kind: Kind
    entry: Entry
    options: tuple[Any, Options]
    told: set[str] = field(default_factory=set)

    @cached_property
    def case(self) -> Any:
        offer = f"{self.kind}:{self.entry.spec.name}"
        try:
            arguments = {k: v for known in self.options for k, v in known.get(offer, {}).items()}
            return KINDS[self.kind][0](self.entry, **arguments)
        except (AttributeError, TypeError) as error:  # the check of the options reports it
            raise NotRunError(f"the options of {offer} cannot be used: {error}") from error

    def run(self, name: str) -> None:
        checks = KINDS[self.kind][1]
        try:
            checks[name](self.case)
        except AssertionError as error:
            if str(error) in self.told:
                raise NotRunError(f"not run, since: {error}") from error
            self.told.add(str(error))
            raise
        finally:
            if name == list(checks)[-1]:
                self.__dict__.pop("case", None)  # networks are large


def _entry_point(status: PluginStatus) -> metadata.EntryPoint:
    points = metadata.distribution(status.distribution).entry_points.select(group=GROUP)
    return points[status.name]


def _check_loaded(status: PluginStatus) -> None:
    expect(
        status.state != "disabled",
        f"The plugin {status.name!r} is left out by FUNDUS_DISABLE_PLUGINS: unset it.",
    )
    expect(
        status.state == "loaded",
        f"The plugin {status.name!r} must load, but failed with {status.error}: fix that error."
        f"\n{status.details}",
    )


_IMPORTS = """
import sys
from importlib import metadata
from fundus.plugins.contract import collect
(point,) = metadata.distribution(sys.argv[1]).entry_points.select(group="fundus", name=sys.argv[2])
collect(point.load(), point.name)
print(*sorted(set(sys.argv[3:]) & set(sys.modules)))
"""


def _check_imports(status: PluginStatus) -> None:
    """Load only this plugin in a separate process, and check which packages it imports."""
    command = [sys.executable, "-c", _IMPORTS, status.distribution, status.name, *HEAVY]
    path = os.pathsep.join(folder for folder in sys.path if folder)
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    expect(
        run.returncode == 0,
        f"The plugin {status.name!r} must load in a new process too, but does not: fix that error."
        f"\n{run.stderr}",
    )
    heavy = run.stdout.splitlines()[-1]
    expect(
        not heavy,
        f"The plugin {status.name!r} must load without {heavy}, so that 'fundus plugins' need not "
        "wait for it: import it inside build and make, not at the top of a module, and name its "
        "types under TYPE_CHECKING.",
    )


def _check_options(status: PluginStatus, stated: Any, options: Options) -> None:
    place = f"fundus_checks of the plugin {status.name!r}"
    expect(
        isinstance(stated, Mapping) and all(isinstance(v, Mapping) for v in stated.values()),
        f"{place} must be a dict of dicts, such as {{'head:forest': {{'takes_weights': False}}}}. "
        f"Got {stated!r} instead.",
    )
    for offer, arguments in {**stated, **options}.items():
        expect(
            offer in status.offers,
            f"{place} must go by what the plugin offers, {', '.join(status.offers)}. "
            f"Got {offer!r}.",
        )
        case, _ = KINDS[offer.split(":")[0]]
        known = [f.name for f in fields(case)][1:]
        wrong = sorted(set(arguments) - set(known))
        expect(
            not wrong,
            f"{place} must give {offer!r} arguments of its check, {', '.join(known)}. Got {wrong}.",
        )
