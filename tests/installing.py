"""Puts a plugin where Python finds it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path


def install(site: Path, *folders: Path) -> None:
    """Install as pip does, without an index; without its build backend, write what pip would."""
    if importlib.util.find_spec("hatchling"):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        command += ["--no-build-isolation", "--disable-pip-version-check", "--target", str(site)]
        subprocess.run([*command, *map(str, folders)], check=True, capture_output=True)
        return
    for folder in folders:
        _install_by_hand(folder, site)


def _install_by_hand(folder: Path, site: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    about, wheel = project["project"], project["tool"]["hatch"]["build"]["targets"]["wheel"]
    write_info(site, about["name"], about["version"], about["entry-points"]["fundus"])
    for name in wheel.get("include", ()):
        shutil.copy(folder / name, site)
    for name in wheel.get("packages", ()):
        shutil.copytree(folder / name, site / name)


def write_info(site: Path, name: str, version: str, points: dict[str, str]) -> None:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{point} = {module}\n" for point, module in points.items()]
    (info / "entry_points.txt").write_text("[fundus]\n" + "".join(lines))
