"""A new plugin: a folder with a package that works, to be changed into one's own."""

from __future__ import annotations

import keyword
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from fundus.exceptions import WriteError
from fundus.hookspecs import API_VERSION, GROUP
from fundus.parameters import invalid, refused
from fundus.plugins.discovery import canonical
from fundus.plugins.registry import OWN, get_registry, plugin_statuses
from fundus.plugins.spec_fields import NAME
from fundus.runtime.whole import whole_folder

if TYPE_CHECKING:
    from fundus.plugins.registry import Kind

_OWNER = "new_plugin"

#: What a distribution may be called: PyPA's rule for names.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class _Kind:
    """What is different between kinds of entries."""

    about: str
    dependencies: tuple[str, ...]
    use: str


KINDS: dict[Kind, _Kind] = {
    "backbone": _Kind(
        "A backbone",
        ("fundus-zoo", "numpy"),
        'TransferClassifier("$point/$name", weights=None)',
    ),
    "head": _Kind(
        "A head",
        ("fundus-zoo", "scikit-learn"),
        'TransferClassifier("efficientnet_lite0", "$point/$name")',
    ),
    "preprocessor": _Kind(
        "A photometric step",
        ("fundus-zoo", "numpy"),
        'TransferClassifier("efficientnet_lite0", photometric="$point/$name")',
    ),
    "layout": _Kind("A layout of tables", ("fundus-zoo",), 'load_image_table("labels.csv")'),
    "model": _Kind("A ready grader", ("fundus-zoo",), 'fundus.load("$point/$name")'),
    "metric": _Kind("A metric", ("fundus-zoo",), 'metric_scorer("$point/$name")'),
    "report-section": _Kind(
        "A section of reports", ("fundus-zoo",), 'report_document(read_record("runs/eyes"))'
    ),
}


@dataclass(frozen=True)
class _Names:
    """All names of a plugin, made from that of its distribution."""

    distribution: str

    @property
    def package(self) -> str:
        """Name of the package that is imported."""
        return re.sub(r"[-.]+", "_", self.distribution).lower()

    @property
    def point(self) -> str:
        """Name of the entry point, and of the entry: the package's without our own before it."""
        return self.package.removeprefix(f"{GROUP}_")


def new_plugin(
    name: str, *, kind: Kind = "backbone", folder: str | os.PathLike[str] | None = None
) -> Path:
    """Write a distribution with one entry that works, and passes its own tests.

    Parameters
    ----------
    name : str
        Of the distribution, such as ``"fundus-iris"``. The package that is imported is then
        ``fundus_iris``, and plugin and entry are called ``iris``.
    kind : {"backbone", "head", "preprocessor", "layout", "model", "metric", "report-section"}
        What the entry is, by default a backbone; a preprocessor is a photometric step, a model a
        ready grader, here a toy that is fitted on drawings.
    folder : path, default=None
        A folder that does not exist yet; ``None`` is the name, in the working folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InvalidParameterError
        If a name would not be a package's or an entry's, or is taken; if there is no such kind,
        or `folder` starts at a user who is not known.
    WriteError
        If the folder exists, or cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as place:
    ...     made = new_plugin("fundus-iris", kind="head", folder=f"{place}/iris")
    ...     sorted(path.name for path in made.iterdir())
    ['LICENSE', 'README.md', 'fundus_iris', 'pyproject.toml', 'tests']
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise invalid(_OWNER, "kind", f"one of {', '.join(map(repr, KINDS))}", kind)
    names = _Names(name)
    _check_names(names, kind)
    target = _expanded(Path(name if folder is None else folder))
    if os.path.lexists(target):
        raise WriteError(
            f"{str(target)!r} exists already, and nothing in it was changed: give another folder, "
            "or remove it."
        )
    with whole_folder(target) as part:
        more: dict[str, str] = {}
        if kind == "model":
            more = _put_model(part / names.package / "model")
        for path, text in _files(names, kind, more).items():
            (part / path).parent.mkdir(exist_ok=True)
            (part / path).write_text(text, encoding="utf-8")
    return target


def _expanded(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError as error:
        must = f"must be a folder that can be found. Got {str(folder)!r} instead ({error})."
        raise refused(_OWNER, "folder", must) from None


def _check_names(names: _Names, kind: Kind) -> None:
    why = _why_not(names, kind)
    if why:
        must = (
            "must be the name of a package that can be installed and imported, such as "
            f"'fundus-iris': {why}. Got {names.distribution!r} instead."
        )
        raise refused(_OWNER, "name", must)


def _why_not(names: _Names, kind: Kind) -> str:
    """Say in one clause why a name cannot be had; empty where it can."""
    if not isinstance(names.distribution, str) or not _DISTRIBUTION.fullmatch(names.distribution):
        return "letters, digits, '.', '_' and '-' of ASCII, with a letter or digit at both ends"
    package, point = names.package, names.point
    if not package.isidentifier() or keyword.iskeyword(package):
        return f"Python cannot import {package!r}"
    if not NAME.fullmatch(point):
        return f"a plugin cannot be called {point!r}, which must start with a letter"
    if package in sys.stdlib_module_names:
        return f"Python's own module is called {package!r}"
    taken = {canonical(status.distribution) for status in plugin_statuses()} | {OWN}
    if canonical(names.distribution) in taken:
        return "an installed package has this name"
    found = util.find_spec(package)
    if found is not None and found.origin is not None:  # else any folder of the working folder
        return f"an installed module is called {package!r}"
    own = next((s.distribution for s in plugin_statuses() if s.name == point), None)
    if own is not None:
        return f"a plugin of {own} is called {point!r}"
    if point in get_registry().names(kind):
        return f"a {kind} is called {point!r}, which would go on meaning that one"
    return ""


def _put_model(folder: Path) -> dict[str, str]:
    """Write a toy grader; return what its record says of it."""
    from fundus.testing.toy_model import toy_model

    files, said = toy_model()
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return said


def _files(names: _Names, kind: Kind, more: Mapping[str, str]) -> Mapping[str, str]:
    """Return all files of a plugin with text, by their paths."""
    about = KINDS[kind]
    values = {
        "distribution": names.distribution,
        "package": names.package,
        "point": names.point,
        "name": names.point,
        "kind": {"preprocessor": "photometric step", "model": "ready grader"}.get(
            kind, kind.replace("-", " ")
        ),
        "about": about.about,
        "api": str(API_VERSION),
        "dependencies": ", ".join(f'"{name}"' for name in about.dependencies),
        **more,
    }
    values["use"] = Template(about.use).substitute(values)
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "LICENSE": "LICENSE",
        f"{names.package}/__init__.py": f"{kind}.py",
        f"tests/test_{names.package}.py": f"test_{kind}.py",
    }
    return {path: _template(name).substitute(values) for path, name in templates.items()}


def _template(name: str) -> Template:
    file = resources.files("fundus.testing") / "templates" / f"{name}.txt"
    return Template(file.read_text(encoding="utf-8"))
