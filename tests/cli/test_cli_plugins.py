"""``fundus plugins``, which lists them, and ``fundus plugins new``."""

from __future__ import annotations

import pytest


def test_the_list_is_shown_unless_a_command_follows(run, document):
    assert "builtin" in run("plugins").stdout
    (own,) = [plugin for plugin in document("plugins")["plugins"] if plugin["name"] == "builtin"]
    assert own["state"] == "loaded"
    assert "new" in run("plugins", "--help").stdout


@pytest.mark.parametrize("option", ["--verbose", "--json"])
def test_an_option_of_the_list_is_refused_before_a_command(run, tmp_path, option):
    told = run("plugins", option, "new", "fundus-iris", "--folder", tmp_path / "x", code=2)
    assert option in told.stderr
    assert not (tmp_path / "x").exists()


def test_a_new_plugin_is_written_and_says_what_to_do_next(run, document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = run("plugins", "new", "fundus-iris", "--kind", "head").stdout
    assert (tmp_path / "fundus-iris" / "fundus_iris" / "__init__.py").is_file()
    for line in ("pip install -e fundus-iris", "fundus plugins", "python -m pytest fundus-iris"):
        assert line in shown
    made = document("plugins", "new", "fundus-lens", "--kind", "layout", "--folder", "lens")
    assert made["folder"] == "lens"
    assert "fundus_lens/__init__.py" in made["files"]


def test_what_cannot_be_had_ends_with_its_reason(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = run("plugins", "new", "class", "--kind", "head", code=2).stderr
    assert "Python cannot import 'class'" in told
    (tmp_path / "fundus-iris").mkdir()
    assert "exists already" in run("plugins", "new", "fundus-iris", code=1).stderr
    assert "loss" in run("plugins", "new", "fundus-x", "--kind", "loss", code=2).stderr
