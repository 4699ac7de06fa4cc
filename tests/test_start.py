"""What a user meets first: ``python -m fundus``, names, TensorFlow's start, errors as they end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import fundus
from fundus.exceptions import UnknownNameError
from fundus.hookspecs import BackboneSpec
from fundus.plugins import Entry, get_registry
from fundus.registry.records import Registry


def python(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess:
    """Run a fresh Python; a variable that is None is taken out."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": None, **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={name: value for name, value in env.items() if value is not None},
        check=False,
    )


def test_the_package_is_a_command():
    script = (
        "import runpy, sys\n"
        "sys.argv = ['fundus', '--help']\n"
        "try:\n    runpy.run_module('fundus', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(sorted({'keras', 'tensorflow', 'numpy'} & set(sys.modules)))"
    )
    result = python("-c", script)
    assert result.returncode == 0, result.stderr
    assert "backbones" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"
    assert python("-m", "fundus", "--version").stdout == f"fundus-zoo {fundus.__version__}\n"


def test_precomputed_is_among_the_names():
    names = fundus.list_backbones()
    assert names == sorted(names)
    assert "precomputed" in names
    assert "precomputed" not in get_registry().names("backbone")
    with pytest.raises(UnknownNameError, match="Did you mean 'precomputed'"):
        get_registry().find("backbone", "precomputd")
    with pytest.raises(UnknownNameError, match=r"Registered: .*, precomputed, resnet101"):
        get_registry().find("backbone", "zzz")
    with pytest.raises(UnknownNameError, match="called 'precomputed' that runs on images: .* 2-D"):
        fundus.FeatureExtractor("precomputed").fit(["a.png"])


def test_a_plugin_cannot_take_the_name_of_features():
    registry = Registry()
    spec = BackboneSpec(name="precomputed", build=print, image_size=8, parameters=1, licence="MIT")
    registry.entries["backbone"].append(Entry("odd", "odd-dist", spec))
    assert registry.names("backbone") == ["odd/precomputed"]
    assert registry.find("backbone", "odd/precomputed").spec is spec
