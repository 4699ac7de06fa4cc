"""Options that the examples share, and a synthetic set for those who have no photographs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from fundus import make_fundus


def arguments(description: str | None, **numbers: int | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", type=Path, help="folder with class0 … class4")
    for name, default in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--new", type=Path, help="folder of photographs to grade, of any layout")
    parser.add_argument("--out", type=Path, help="where results go (a temporary folder)")
    parser.add_argument("--fast", action="store_true", help="tiny network and few images, as tests")
    options = parser.parse_args()
    options.out = options.out or Path(tempfile.mkdtemp(prefix="fundus-example-"))
    options.backbone = "tiny" if options.fast else "efficientnet_lite0"
    options.weights = "fixed" if options.fast else "imagenet"
    options.epochs = 2 if options.fast else 40
    options.folds = 2 if options.fast else 5
    return options


def folder_of_photographs(options: argparse.Namespace, n_fast: int = 30) -> Path:
    if options.data is not None:
        return options.data
    folder = options.out / "photographs"
    n, size = (n_fast, 64) if options.fast else (200, 256)
    make_fundus(n, size, 0, out_dir=folder)
    return folder


def new_photographs(options: argparse.Namespace) -> Path:
    folder = options.out / "new-photographs"
    make_fundus(10, 64 if options.fast else 256, 1, out_dir=folder)
    return folder
