"""Draw ``docs/house.svg``: the rooms of the package on their floors, from the imports.

python docs/make_house.py           draw the picture
python docs/make_house.py --check   end with 1 if the picture shows other rooms or arrows
"""

from __future__ import annotations

import ast
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line
from scipy.optimize import linprog

HERE = Path(__file__).resolve().parent
PICTURE = HERE / "house.svg"
PACKAGE = HERE.parent / "fundus"

#: The rooms by floor, lowest first. A room may import the rooms of lower floors, and no other.
FLOORS = (
    ("_version", "exceptions"),
    ("modelspecs", "parameters", "reportspecs"),
    ("runtime",),
    ("hookspecs",),
    ("plugins",),
    ("grades", "hub"),
    ("preprocessing", "images", "store"),
    ("metrics", "data", "heads"),
    ("backbones",),
    ("builtin",),
    ("frozen",),
    ("training", "saving"),
    ("explain",),
    ("tracing",),
    ("transfer",),
    ("distributed",),
    ("model_selection",),
    ("meta",),
    ("audit", "recipes", "reporting"),
    ("documents", "export"),
    ("serving", "sharing", "testing"),
    ("cli", "pytest_plugin"),
    ("__main__", "__init__"),
)

#: What a room is for, in the picture: its colour and a few words.
ROOMS = {
    "cli": ("report", "the command line"),
    "pytest_plugin": ("report", "--fundus-plugin"),
    "audit": ("report", "what is odd in a data set"),
    "serving": ("report", "a model behind a page"),
    "documents": ("report", "a run as a page to send"),
    "reporting": ("report", "evaluation, intervals, figures"),
    "recipes": ("report", "make_grader, sets of values"),
    "meta": ("grade", "folds, cutpoints, calibration, sets"),
    "model_selection": ("grade", "splits, leaks, near duplicates"),
    "testing": ("report", "the kit for plugins of others"),
    "transfer": ("network", "TransferClassifier, FeatureExtractor"),
    "distributed": ("network", "extraction on several machines"),
    "explain": ("network", "where on a photograph a model looks"),
    "tracing": ("network", "a fitted model as one Keras graph"),
    "export": ("report", "a model for use without this library"),
    "training": ("network", "a network learns: Keras, scikeras"),
    "sharing": ("report", "a model for others, on the Hub"),
    "hub": ("ground", "models on the Hub, fetched"),
    "saving": ("ground", "a fitted model as a folder"),
    "frozen": ("network", "frozen layers run once per image"),
    "builtin": ("network", "the plugins that ship"),
    "backbones": ("network", "built, cut, pooled"),
    "metrics": ("grade", "kappa, probabilities"),
    "data": ("photograph", "folders, tables, X"),
    "heads": ("network", "features to severity"),
    "preprocessing": ("photograph", "light, colour, scale"),
    "images": ("photograph", "decode, crop, resize"),
    "store": ("photograph", "what was computed, kept"),
    "grades": ("grade", "the scale, labels, severity"),
    "plugins": ("ground", "the registry"),
    "hookspecs": ("ground", "what a plugin gives"),
    "reportspecs": ("ground", "records of metrics, sections"),
    "modelspecs": ("ground", "records of ready graders"),
    "runtime": ("ground", "threads, seeds, TensorFlow"),
    "parameters": ("ground", "checks of parameters"),
    "_version": ("ground", ""),
    "exceptions": ("ground", "errors and warnings"),
}

#: Fill and edge of the rooms.
COLOURS = {
    "report": ("#f4e3ec", "#b56a92"),
    "grade": ("#e6e3f5", "#7d72b8"),
    "network": ("#fbead2", "#c98a35"),
    "photograph": ("#d9eef0", "#3f909c"),
    "ground": ("#ececec", "#8c8c8c"),
}


@dataclass(frozen=True)
class Import:
    """A line of `source` that imports the file `target`; both are module names."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source} imports {self.target} in line {self.line}"


def modules(package: Path) -> dict[str, Path]:
    """Files of a package by module name; a folder's ``__init__.py`` has the folder's name."""
    named = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in sorted(package.rglob("*.py"))
    }
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def lazy_names(package: Path) -> dict[str, str]:
    """Names that a folder reads on first use, and the module of each, by its ``__init__.pyi``."""
    found = {}
    for stub in package.rglob("__init__.pyi"):
        folder = ".".join(stub.parent.relative_to(package.parent).parts)
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                names = [alias.asname or alias.name for alias in node.names]
                found.update({f"{folder}.{name}": f"{folder}.{node.module}" for name in names})
    return found


def imports(package: Path) -> list[Import]:
    """All imports of one file by another, those inside functions too; not those for types only."""
    files, lazy = modules(package), lazy_names(package)
    found = set()
    for source, path in files.items():
        for name, line in _imported(path, source, path.name == "__init__.py", package.name):
            target = name
            while target not in files and "." in target:
                target = lazy.get(target, target.rpartition(".")[0])
            if target in files and target not in (source, package.name):
                found.add(Import(source, target, line))
    return sorted(found, key=lambda found: (found.source, found.line, found.target))


def _imported(path: Path, source: str, is_folder: bool, package: str) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, or reads from the package as a whole, with the line."""
    roots = set()
    for node in at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.asname or package for alias in node.names if alias.name == package}
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = source.split(".")[: None if is_folder else -1]
            start = above[: len(above) + 1 - node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in roots:
            yield f"{package}.{node.attr}", node.lineno


def at_run_time(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``, in the order of a breadth-first walk."""
    queue: list[ast.AST] = [tree]
    for node in queue:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue.extend(node.orelse)
            continue
        queue.extend(ast.iter_child_nodes(node))
        yield node


def room(module: str) -> str:
    """The room of a module: a folder of the package, or a file at its root."""
    return [*module.split("."), "__init__"][1]


def climbing(package: Path, floors: tuple[tuple[str, ...], ...] = FLOORS) -> list[Import]:
    """Imports that do not go down: of a higher floor, or of another room of the same one."""
    level = {name: floor for floor, names in enumerate(floors) for name in names}
    return [
        found
        for found in imports(package)
        if room(found.source) != room(found.target)
        and level[room(found.source)] <= level[room(found.target)]
    ]


def circles(package: Path) -> list[list[str]]:
    """Sets of files that import one another in a circle."""
    needs: dict[str, set[str]] = {name: set() for name in modules(package)}
    for found in imports(package):
        needs[found.source].add(found.target)
    reach = {name: _reached(name, needs) for name in needs}
    rings = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in reach if a in reach[a]}
    return [list(ring) for ring in sorted(rings)]


def _reached(start: str, needs: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    queue = list(needs[start])
    for name in queue:
        if name not in found:
            found.add(name)
            queue.extend(needs[name])
    return found


def drawing(package: Path) -> dict[str, Any]:
    """What the picture shows: floors from the ground up, files by room, arrows from room to room.

    An arrow is left out where others lead the same way. The files of the two lowest floors, which
    all rooms import, are one floor without arrows; the entrance, which imports everything on first
    use, is no room.
    """
    level = {name: floor for floor, names in enumerate(FLOORS) for name in names if name in ROOMS}
    needs: dict[str, set[str]] = {name: set() for name in level}
    for found in imports(package):
        a, b = room(found.source), room(found.target)
        if a in level and 1 < level.get(b, 0) < level[a]:
            needs[a].add(b)
    ground = [*FLOORS[1], *FLOORS[0]]
    files = [room(name) for name in modules(package)]
    return {
        "floors": [ground, *([n for n in floor if n in level] for floor in FLOORS[2:-1])],
        "files": {name: files.count(name) for name in level},
        "arrows": sorted(
            [a, b]
            for a in needs
            for b in needs[a]
            if not any(b in _reached(other, needs) for other in needs[a] - {b})
        ),
    }


def drawn(picture: Path) -> dict[str, Any]:
    """What a picture shows, out of its metadata."""
    text = ET.parse(picture).find(".//{http://purl.org/dc/elements/1.1/}description")
    return json.loads(text.text or "{}") if text is not None else {}


WIDTH, HEIGHT = 1.72, 0.40  # of a room, in inches
ROW = 0.61  # from floor to floor
LANE = 0.16  # what an arrow takes that passes a floor
LETTER = 0.0665  # a character of the smaller text


def layout(shown: dict[str, Any]) -> tuple[dict[str, tuple[float, int]], list[list[str]], float]:
    """Middles of rooms and of the lanes of long arrows, ``(x, floor)``, and the lanes by arrow."""
    rows = [list(floor) for floor in shown["floors"]]
    level = {name: floor for floor, names in enumerate(rows) for name in names}
    chains = []
    for a, b in shown["arrows"]:
        lanes = [f"{a}>{b}@{floor}" for floor in range(level[a] - 1, level[b], -1)]
        level.update({lane: int(lane.split("@")[1]) for lane in lanes})
        for lane in lanes:
            rows[level[lane]].append(lane)
        chains.append([a, *lanes, b])
    links = [link for chain in chains for link in pairwise(chain)]
    rows = min(
        (_ordered(rows, links, np.random.default_rng(seed)) for seed in range(40)),
        key=lambda rows: _crossings(rows, links),
    )
    x, width = _columns(rows, links)
    return {name: (x[name], level[name]) for name in x}, chains, width


def _ordered(
    rows: list[list[str]], links: list[tuple[str, str]], rng: np.random.Generator
) -> list[list[str]]:
    """Sweep up and down, each floor in the order of the mean place of what it is joined to."""
    rows = [list(rng.permutation(row)) for row in rows]
    joined: dict[str, list[str]] = {}
    for a, b in links:
        joined.setdefault(a, []).append(b)
        joined.setdefault(b, []).append(a)
    best = rows
    for sweep in range(24):
        order = range(len(rows)) if sweep % 2 else range(len(rows) - 1, -1, -1)
        for floor in order:
            place = {name: i / max(1, len(row) - 1) for row in rows for i, name in enumerate(row)}
            beside = set(rows[floor - 1] if sweep % 2 and floor else []) | set(
                rows[floor + 1] if not sweep % 2 and floor + 1 < len(rows) else []
            )
            mean = {
                name: np.mean(
                    [place[n] for n in joined.get(name, []) if n in beside] or place[name]
                )
                for name in rows[floor]
            }
            rows[floor] = sorted(rows[floor], key=mean.__getitem__)
        best = min(best, [list(row) for row in rows], key=lambda rows: _crossings(rows, links))
    return best


def _crossings(rows: list[list[str]], links: list[tuple[str, str]]) -> int:
    place = {name: (floor, i) for floor, row in enumerate(rows) for i, name in enumerate(row)}
    ends = np.array([(*place[a], place[b][1]) for a, b in links])
    same = ends[:, None, 0] == ends[None, :, 0]
    turned = (ends[:, None, 1] - ends[None, :, 1]) * (ends[:, None, 2] - ends[None, :, 2]) < 0
    return int((same & turned).sum()) // 2


def _wide(name: str) -> float:
    return LANE if "@" in name else max(WIDTH, 0.2 + LETTER * len(ROOMS[name][1])) + 0.14


def _columns(rows: list[list[str]], links: list[tuple[str, str]]) -> tuple[dict[str, float], float]:
    """Places from left to right that make the arrows as straight as can be: a linear program."""
    names = [name for row in rows for name in row]
    column = {name: i for i, name in enumerate(names)}
    n, m = len(names), len(links)
    width = max(sum(map(_wide, row)) for row in rows)
    rules, bounds = [], []
    for k, (a, b) in enumerate(links):  # the k-th bend is at least the distance, either way
        for sign in (1, -1):
            rule = np.zeros(n + m)
            rule[[column[a], column[b], n + k]] = sign, -sign, -1
            rules.append(rule)
            bounds.append(0.0)
    for row in rows:
        for a, b in pairwise(row):
            rule = np.zeros(n + m)
            rule[[column[a], column[b]]] = 1, -1
            rules.append(rule)
            bounds.append(-(_wide(a) + _wide(b)) / 2)
    cost = [8.0 if "@" in a and "@" in b else 2.0 if "@" in a + b else 1.0 for a, b in links]
    limits = [(_wide(name) / 2, width - _wide(name) / 2) for name in names]
    solved = linprog(
        [0.0] * n + cost, A_ub=np.array(rules), b_ub=bounds, bounds=limits + [(0, None)] * m
    )
    x = dict(zip(names, solved.x[:n], strict=True))
    joined = {name for link in links for name in link}
    for row in rows:
        if not joined & set(row):
            gap = width / len(row)
            x.update({name: gap * (i + 0.5) for i, name in enumerate(row)})
    return x, width


def draw(shown: dict[str, Any]) -> Figure:
    """Draw the rooms on their floors, an arrow from each room to those it is made of."""
    places, chains, width = layout(shown)
    top = len(shown["floors"]) * ROW
    figure = Figure(figsize=(width + 0.2, top + 0.7))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-0.1, width + 0.1), ylim=(-0.62, top + 0.08))
    ax.axis("off")
    for floor in range(len(shown["floors"])):
        ax.axhspan(floor * ROW + 0.02, (floor + 1) * ROW - 0.02, color="#fafafa", zorder=0)
    for chain in chains:
        _arrow(ax, chain, chains, places)
    for name, files in shown["files"].items():
        _room(ax, name, files, places)
    x = 0.1
    for name, words in (
        ("photograph", "photographs"),
        ("network", "networks"),
        ("grade", "grades"),
        ("report", "what users see"),
        ("ground", "what all stand on"),
    ):
        fill, edge = COLOURS[name]
        ax.add_patch(FancyBboxPatch((x, -0.27), 0.14, 0.1, "round,pad=0.02", fc=fill, ec=edge))
        ax.text(x + 0.25, -0.22, words, va="center", fontsize=8, color="#444444")
        x += 0.55 + LETTER * len(words)
    words = (
        "Arrow: imports; left out where others lead there, and to the lowest floor, which most "
        "import. Number: files."
    )
    ax.text(0.08, -0.46, words, va="center", fontsize=7.5, color="#444444")
    return figure


def _middle(floor: int) -> float:
    return floor * ROW + ROW / 2


def _port(name: str, other: str, chains: list[list[str]], places: dict, out: bool) -> float:
    """Where on its edge a room lets an arrow out or in: in the order of the other ends."""
    if "@" in name:
        return places[name][0]
    beside = [chain[1] if out else chain[-2] for chain in chains if chain[0 if out else -1] == name]
    beside.sort(key=lambda end: places[end][0])
    step = min(0.3, (_wide(name) - 0.6) / max(1, len(beside) - 1))
    return places[name][0] + step * (beside.index(other) - (len(beside) - 1) / 2)


def _arrow(ax: Axes, chain: list[str], chains: list[list[str]], places: dict) -> None:
    """A line that is straight on a floor and bends between two."""
    points, codes = [], []
    for a, b in pairwise(chain):
        x0, x1 = _port(a, b, chains, places, True), _port(b, a, chains, places, False)
        y0 = _middle(places[a][1]) - HEIGHT / 2
        y1 = _middle(places[b][1]) + HEIGHT / 2
        if not points:
            points, codes = [(x0, y0)], [Line.MOVETO]
        else:
            points.append((x0, y0))
            codes.append(Line.LINETO)
        bend = (y0 - y1) * 0.55
        points += [(x0, y0 - bend), (x1, y1 + bend), (x1, y1)]
        codes += [Line.CURVE4] * 3
    style = "-|>,head_length=3,head_width=1.6"
    ax.add_patch(
        FancyArrowPatch(
            path=Line(points, codes), arrowstyle=style, color="#a9a9a9", lw=0.9, zorder=1
        )
    )


def _room(ax: Axes, name: str, files: int, places: dict) -> None:
    (x, floor), (colour, words) = places[name], ROOMS[name]
    fill, edge = COLOURS[colour]
    y, width = _middle(floor), _wide(name) - 0.14
    corner = (x - width / 2 + 0.04, y - HEIGHT / 2 + 0.04)
    box = FancyBboxPatch(
        corner, width - 0.08, HEIGHT - 0.08, "round,pad=0.04", fc=fill, ec=edge, lw=0.9, zorder=2
    )
    ax.add_patch(box)
    folder = (PACKAGE / name).is_dir()
    title = f"{name}/" if folder else f"{name}.py"
    up = 0.085 if words else 0
    ax.text(x, y + up, title, ha="center", va="center", fontsize=9, weight="bold", zorder=3)
    ax.text(x, y - 0.095, words, ha="center", va="center", fontsize=7.5, color="#333333", zorder=3)
    if folder:
        right = (x + width / 2 - 0.05, y + up + 0.02)
        ax.text(*right, files, ha="right", va="center", fontsize=6.5, color=edge, zorder=3)


def main() -> None:
    shown = drawing(PACKAGE)
    if "--check" in sys.argv[1:]:
        sys.exit(drawn(PICTURE) != shown)
    mpl.rcParams["svg.hashsalt"] = "house"  # the same picture has the same bytes
    metadata = {"Description": json.dumps(shown), "Date": None}
    draw(shown).savefig(PICTURE, facecolor="white", metadata=metadata)


if __name__ == "__main__":
    main()
