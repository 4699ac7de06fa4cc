"""The registry: discovery, isolation of failures, conflicts, look-up; on fake distributions."""

import importlib
import itertools
import os
import subprocess
import sys
import warnings
from dataclasses import MISSING, fields

import pytest

from fundus import hookspecs
from fundus.exceptions import PluginError, PluginWarning, UnknownNameError
from fundus.plugins import HOOKS, contract, discovery, get_registry, load_registry, plugin_statuses
from fundus.plugins.contract import collect

HEAD = """
from fundus.hookspecs import HeadSpec, hookimpl

@hookimpl
def fundus_heads():
    return [HeadSpec(name="{name}", make=dict, description="A head.")]
"""


def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        return load_registry()


def status(registry, name):
    return [s for s in registry.statuses if s.name == name]


SPEC = "from fundus.hookspecs import BackboneSpec, HeadSpec, PreprocessorSpec, hookimpl\n"

FAILURES = {
    "import error": ("import not_there_at_all", "ModuleNotFoundError", "not_there_at_all"),
    "syntax error": ("def (", "SyntaxError", "invalid syntax"),
    "leaves Python": ("raise SystemExit('bye')", "SystemExit", "bye"),
    "other contract": (
        "fundus_api = 99\n" + HEAD.format(name="x"),
        "PluginError",
        "was written for plugin API 99, this is 1",
    ),
    "misspelt hook": (
        SPEC + "@hookimpl\ndef fundus_backbone():\n    return []",
        "PluginError",
        "unknown hook 'fundus_backbone'. Did you mean 'fundus_backbones'?",
    ),
    "misspelt specname": (
        SPEC + "@hookimpl(specname='fundus_headz')\ndef anything():\n    return []",
        "PluginError",
        "unknown hook 'fundus_headz'. Did you mean 'fundus_heads'?",
    ),
    "marker forgotten": (
        "def fundus_heads():\n    return []",
        "PluginError",
        "fundus_heads of plugin 'bad' is no hook yet: put @hookimpl above it",
    ),
    "misspelt and unmarked": (
        SPEC + "def fundus_head():\n    return []",
        "PluginError",
        "fundus_head of plugin 'bad' is no hook. Did you mean 'fundus_heads'?",
    ),
    "no hook at all": (
        "def something():\n    return []",
        "PluginError",
        "Plugin 'bad' has no hook: its entry point must name the module",
    ),
    "wrong arguments": (
        SPEC + "@hookimpl\ndef fundus_heads(config):\n    return []",
        "PluginError",
        "{'config'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "returns one record": (
        SPEC + "@hookimpl\ndef fundus_heads():\n"
        "    return HeadSpec(name='x', make=dict, description='X.')",
        "PluginError",
        "must return a list of HeadSpec",
    ),
    "returns nothing": (
        SPEC + "@hookimpl\ndef fundus_heads():\n    []",
        "PluginError",
        "must return a list of HeadSpec. Got None instead",
    ),
    "returns a str": (
        SPEC + "@hookimpl\ndef fundus_heads():\n    return 'abc'",
        "PluginError",
        "must return HeadSpec records. Got 'a' instead",
    ),
    "wrong record": (
        SPEC + "@hookimpl\ndef fundus_backbones():\n"
        "    return [HeadSpec(name='x', make=dict, description='X.')]",
        "PluginError",
        "must return BackboneSpec records",
    ),
    "bad name": (
        HEAD.format(name="My Head"),
        "PluginError",
        "'name' must be lower case, starting with a letter",
    ),
    "field of another type": (
        SPEC + "@hookimpl\ndef fundus_backbones():\n    return [BackboneSpec(name='x', build=dict,"
        " image_size='224', parameters=1, licence='MIT')]",
        "PluginError",
        "'image_size' must be a positive int, in pixels. Got '224' instead",
    ),
    "pretrained is a str": (
        SPEC + "@hookimpl\ndef fundus_backbones():\n    return [BackboneSpec(name='x', build=dict,"
        " image_size=224, parameters=1, licence='MIT', pretrained='imagenet')]",
        "PluginError",
        "'pretrained' must be a tuple of str",
    ),
    "smaller than its smallest": (
        SPEC + "@hookimpl\ndef fundus_backbones():\n    return [BackboneSpec(name='x', build=dict,"
        " image_size=16, parameters=1, licence='MIT')]",
        "PluginError",
        "'image_size' must be at least 'min_image_size', 32 pixels",
    ),
    "field missing": (
        SPEC + "@hookimpl\ndef fundus_heads():\n    return [HeadSpec(name='x', make=dict)]",
        "TypeError",
        "description",
    ),
    "no place of a class": (
        SPEC + "@hookimpl\ndef fundus_heads():\n"
        "    return [HeadSpec(name='x', make='no_colon.Head', description='X.')]",
        "PluginError",
        "'make' must be callable, or where it is, as 'package.module:Class'. Got 'no_colon.Head'",
    ),
    "one name twice": (
        SPEC + "@hookimpl\ndef fundus_heads():\n"
        "    return 2 * [HeadSpec(name='x', make=dict, description='X.')]",
        "PluginError",
        "fundus_heads of plugin 'bad' returns 'x' twice",
    ),
    "asks for the registry": (
        SPEC + "import fundus\n@hookimpl\ndef fundus_heads():\n    fundus.list_heads()",
        "PluginError",
        "asks for what is registered while it is being loaded itself",
    ),
    "hook leaves Python": (
        SPEC + "@hookimpl\ndef fundus_heads():\n    raise SystemExit(3)",
        "SystemExit",
        "3",
    ),
    "an error that cannot be shown": (
        "class Odd(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Odd",
        "Odd",
        "(its message cannot be shown)",
    ),
    "hook raises": (
        SPEC + "@hookimpl\ndef fundus_heads():\n    return 1 / 0",
        "ZeroDivisionError",
        "division by zero",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_broken_plugin_is_left_out_whole_and_the_others_go_on(install, kind):
    code, error, message = FAILURES[kind]
    before = set(load_registry().names("head"))
    install("bad", code)
    install("good", HEAD.format(name="good_head"))
    with pytest.warns(PluginWarning) as caught:
        registry = load_registry()
    (warning,) = caught
    assert "Plugin 'bad' of dist-bad was left out" in str(warning.message)
    assert message in str(warning.message)
    (bad,) = status(registry, "bad")
    assert (bad.state, bad.distribution, bad.version) == ("failed", "dist-bad", "1.0")
    assert bad.error.startswith(error)
    assert message in bad.error
    assert "Traceback" in bad.details
    assert bad.offers == ()
    (good,) = status(registry, "good")
    assert (good.state, good.offers) == ("loaded", ("head:good_head",))
    assert before | {"good_head"} == set(registry.names("head"))
    assert not [e for kind in registry.entries for e in registry.entries[kind] if e.plugin == "bad"]


def test_one_bad_record_takes_all_of_its_plugin_out_but_nothing_else(install):
    install(
        "half",
        HEAD.format(name="fine") + "\n@hookimpl\ndef fundus_preprocessors():\n    return [1]",
    )
    registry = quiet()
    assert "fine" not in registry.names("head")
    assert status(registry, "half")[0].state == "failed"


def test_a_keyboard_interrupt_is_not_swallowed(install):
    install("stopped", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_registry()


def test_two_plugins_of_one_entry_point_name(install):
    install("twin", HEAD.format(name="first"), distribution="a-dist")
    install("twin", HEAD.format(name="second"), distribution="b-dist")
    with pytest.warns(PluginWarning, match="Two plugins are called 'twin'.*comes with b-dist"):
        registry = load_registry()
    assert [s.state for s in status(registry, "twin")] == ["loaded", "failed"]
    assert "first" in registry.names("head")
    assert "second" not in registry.names("head")


def test_a_plugin_cannot_take_the_name_of_the_built_in_one(install):
    install("builtin", HEAD.format(name="impostor"))
    with pytest.warns(PluginWarning, match="Two plugins are called 'builtin'"):
        registry = load_registry()
    assert "softmax" in registry.names("head")
    assert "impostor" not in registry.names("head")


def test_an_unreadable_distribution_is_left_out(install):
    place = install("lost", HEAD.format(name="lost_head"))
    (info,) = place.glob("*.dist-info")
    (info / "entry_points.txt").write_text("[fundus]\nno equals sign\n")
    with pytest.warns(PluginWarning, match="an unreadable distribution was left out"):
        registry = load_registry()
    assert "softmax" in registry.names("head")


def test_the_same_distribution_twice_on_the_path_counts_once(install):
    install("twice", HEAD.format(name="older"), version="1.0")
    install("twice", HEAD.format(name="newer"), version="2.0")  # before the other on sys.path
    registry = load_registry()
    (found,) = status(registry, "twice")
    assert (found.version, found.offers) == ("2.0", ("head:newer",))


PLACED = """
from fundus.hookspecs import HeadSpec, hookimpl

@hookimpl
def fundus_heads():
    places = {places!r}
    return [HeadSpec(name=name, make=place, description="X.") for name, place in places.items()]
"""


def test_a_head_may_be_named_by_its_place_and_is_imported_when_it_is_used(install):
    places = {
        "placed": "late_heads:LateHead",
        "no_module": "not_there_at_all:Head",
        "no_class": "json:NotThere",
        "no_call": "json:__name__",
        "no_peace": "raises_at_import:Head",
    }
    folder = install("placed", PLACED.format(places=places))
    (folder / "raises_at_import.py").write_text("raise RuntimeError('not today')")
    (folder / "late_heads.py").write_text(
        "from fundus.heads.sklearn_heads import RidgeHead\nclass LateHead(RidgeHead):\n    pass\n"
    )
    registry = load_registry()
    assert set(places) <= set(registry.names("head"))
    spec = {name: registry.find("head", name).spec for name in places}
    assert not any(one.makes(dict) for one in spec.values() if one.name == "placed")
    assert "late_heads" not in sys.modules, "listing and asking import nothing"
    assert spec["placed"].maker(alpha=2.0).alpha == 2.0
    try:
        assert spec["placed"].makes(spec["placed"].maker)
        assert not spec["placed"].makes(dict)
    finally:
        del sys.modules["late_heads"]
    for name, message in {
        "no_module": "No module named 'not_there_at_all'",
        "no_class": "has no attribute 'NotThere'",
        "no_call": "must be callable. Got 'json'",
        "no_peace": "not today",
    }.items():
        with pytest.raises(PluginError, match=f"The head '{name}' .*{message}"):
            spec[name].maker  # noqa: B018

    class Head:
        pass

    assert not any(spec[name].makes(Head) for name in ("no_module", "no_peace"))


def test_a_class_that_a_package_shows_elsewhere_is_found(install):
    """Its own module is imported, and the one that the record names is not yet."""
    folder = install("shown", PLACED.format(places={"shown": "shown_api:ShownHead"}))
    (folder / "shown_impl.py").write_text(
        "from fundus.heads.sklearn_heads import RidgeHead\nclass ShownHead(RidgeHead):\n    pass\n"
    )
    (folder / "shown_api.py").write_text("from shown_impl import ShownHead\n")
    spec = load_registry().find("head", "shown").spec
    try:
        assert spec.makes(importlib.import_module("shown_impl").ShownHead)
    finally:
        for name in ("shown_impl", "shown_api"):
            sys.modules.pop(name, None)


def test_a_shadowed_built_in_keeps_the_short_name(install):
    install("shadow", HEAD.format(name="softmax"))
    registry = load_registry()
    assert registry.find("head", "softmax").plugin == "builtin"
    assert registry.find("head", "builtin/softmax").plugin == "builtin"
    assert registry.find("head", "shadow/softmax").plugin == "shadow"
    assert {"softmax", "shadow/softmax"} <= set(registry.names("head"))


def test_one_name_from_two_plugins_is_ambiguous(install):
    install("left", HEAD.format(name="shared"))
    install("right", HEAD.format(name="shared"))
    registry = load_registry()
    with pytest.raises(UnknownNameError, match="ambiguous: give 'left/shared' and 'right/shared'"):
        registry.find("head", "shared")
    assert registry.find("head", "right/shared").distribution == "dist-right"
    names = registry.names("head")
    assert "shared" not in names
    assert {"left/shared", "right/shared"} <= set(names)


def test_nothing_depends_on_the_order_of_the_path(install, monkeypatch):
    places = [
        install("left", HEAD.format(name="shared")),
        install("right", HEAD.format(name="shared")),
        install("twin", HEAD.format(name="of_a"), distribution="a-dist"),
        install("twin", HEAD.format(name="of_b"), distribution="b-dist"),
    ]
    seen = []
    rest = [p for p in sys.path if p not in map(str, places)]
    for order in itertools.permutations(map(str, places)):
        monkeypatch.setattr(sys, "path", [*order, *rest])
        registry = quiet()
        seen.append(
            (
                [(s.name, s.distribution, s.state) for s in registry.statuses],
                [entry.qualified_name for entry in registry.entries["head"]],
            )
        )
    assert all(outcome == seen[0] for outcome in seen)


def test_strict_mode_raises(install, monkeypatch):
    install("bad", "import not_there_at_all")
    monkeypatch.setenv("FUNDUS_STRICT_PLUGINS", "1")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        load_registry()


@pytest.mark.parametrize(
    ("setting", "states"),
    [
        ("1", {"one": "disabled", "two": "disabled"}),
        ("one", {"one": "disabled", "two": "loaded"}),
        ("other, two", {"one": "loaded", "two": "disabled"}),
        ("", {"one": "loaded", "two": "loaded"}),
    ],
)
def test_disabled_plugins_are_not_even_imported(install, monkeypatch, setting, states):
    marker = "raise SystemExit" if setting == "1" else ""
    install("one", HEAD.format(name="head_one") + marker)
    install("two", HEAD.format(name="head_two") + marker)
    monkeypatch.setenv("FUNDUS_DISABLE_PLUGINS", setting)
    registry = load_registry()
    assert {s.name: s.state for s in registry.statuses if s.name in states} == states
    assert "softmax" in registry.names("head")


def test_unknown_names_offer_near_ones_and_name_the_plugins_that_failed(install):
    install("bad", "import not_there_at_all")
    registry = quiet()
    with pytest.raises(UnknownNameError) as caught:
        registry.find("backbone", "resnet5")
    message = str(caught.value)
    assert "There is no backbone called 'resnet5'. Did you mean 'resnet50'" in message
    assert "to load: bad (ModuleNotFoundError: No module named 'not_there_at_all')" in message
    with pytest.raises(UnknownNameError, match="Registered: .*logistic, .*softmax"):
        registry.find("head", "zzz")


def test_the_registry_is_loaded_once_a_process(install):
    assert get_registry() is get_registry()


@pytest.mark.slow
def test_listing_imports_no_keras():
    code = (
        "import sys, fundus; "
        "fundus.list_backbones(), fundus.list_heads(), fundus.list_preprocessors(); "
        "print(sorted({'keras', 'tensorflow', 'scikeras'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert run.stdout.strip() == "[]"


def test_built_in_failures_are_never_hidden(monkeypatch):
    monkeypatch.setattr(discovery, "BUILTIN_MODULES", ("fundus.builtin.not_there",))
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        load_registry()


def test_a_plugin_may_be_an_object_and_its_hooks_generators():
    class Plugin:
        @hookspecs.hookimpl
        def fundus_heads(self):
            yield hookspecs.HeadSpec(name="made", make=dict, description="A head.")

    found = collect(Plugin(), "object")
    assert [spec.name for spec in found["head"]] == ["made"]


def test_every_hook_is_known_to_the_registry_and_documented():
    declared = {name for name in dir(hookspecs) if hasattr(getattr(hookspecs, name), "fundus_spec")}
    assert declared == set(HOOKS)
    for name in HOOKS:
        assert getattr(hookspecs, name).__doc__


def test_wrong_contract_message_says_what_to_install():
    class Plugin:
        fundus_api = 2

    with pytest.raises(PluginError, match="install versions of the plugin and of fundus-zoo"):
        collect(Plugin(), "newer")


# --- versions ------------------------------------------------------------------------------------


@pytest.fixture
def second_contract(monkeypatch):
    """As if a removal had brought plugin API 2 with the release that is running."""
    monkeypatch.setattr(hookspecs, "API_VERSION", 2)
    monkeypatch.setattr(hookspecs, "API_SINCE", {1: (0, 1), 2: (0, 3)})
    monkeypatch.setattr(discovery._Builtin, "fundus_api", 2)
    return lambda release: monkeypatch.setattr(contract, "__version__", release)


@pytest.mark.parametrize("stated", ["fundus_api = 1", ""])
def test_the_previous_contract_is_accepted_for_one_minor_release(install, second_contract, stated):
    install("old", stated + HEAD.format(name="old_head"))
    for release in ("0.3.0", "0.3.7"):
        second_contract(release)
        with pytest.warns(PluginWarning, match="API 1, this is 2: it still works, but not with"):
            registry = load_registry()
        assert status(registry, "old")[0].state == "loaded"
    second_contract("0.4.0")
    with pytest.warns(PluginWarning, match="was written for plugin API 1, this is 2: install"):
        registry = load_registry()
    assert status(registry, "old")[0].state == "failed"


def test_the_release_of_the_contract_is_known():
    assert max(hookspecs.API_SINCE) == hookspecs.API_VERSION


@pytest.mark.filterwarnings("ignore:Argument:UserWarning")
def test_new_hooks_and_arguments_break_no_plugin(install, monkeypatch):
    @hookspecs.hookspec
    def fundus_heads(config):
        """Return heads, with an argument that plugins of today do not know."""

    @hookspecs.hookspec
    def fundus_losses():
        """A hook that plugins of today do not have."""

    monkeypatch.setattr(hookspecs, "fundus_heads", fundus_heads)
    monkeypatch.setattr(hookspecs, "fundus_losses", fundus_losses, raising=False)
    monkeypatch.setitem(contract.HOOKS, "fundus_losses", ("head", hookspecs.HeadSpec))
    install("today", "fundus_api = 1" + HEAD.format(name="today_head"))
    monkeypatch.setattr(discovery, "BUILTIN_MODULES", ("fundus.builtin.tiny",))
    assert status(load_registry(), "today")[0].error == ""


def test_a_hook_of_a_later_release_may_be_optional(install):
    later = "\n@hookimpl(optionalhook=True)\ndef fundus_losses():\n    return []\n"
    install("later", HEAD.format(name="later_head") + later)
    assert status(load_registry(), "later")[0].state == "loaded"


def test_what_a_record_of_the_first_contract_must_give():
    """A field that is new needs a default, or it breaks every plugin there is."""
    required = {
        record.__name__: {f.name for f in fields(record) if f.default is MISSING}
        for _, record in HOOKS.values()
    }
    assert required == {
        "BackboneSpec": {"name", "build", "image_size", "parameters", "licence"},
        "HeadSpec": {"name", "make", "description"},
        "PreprocessorSpec": {"name", "apply", "description"},
        "LayoutSpec": {"name", "description", "path", "grade"},
        "MetricSpec": {"name", "function", "description"},
        "ReportSectionSpec": {"name", "title", "make", "description"},
        "ModelSpec": {
            *("name", "description", "folder", "licence"),
            *("training_data", "intended_use", "limits"),
        },
    }


# --- nothing of a plugin reaches others ----------------------------------------------------------


def test_what_a_plugin_prints_stays_out_of_the_output(install, capsys):
    install("loud", HEAD.format(name="loud_head") + "\nprint('loud')\n")
    load_registry()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "loud\n")


def test_the_list_of_plugins_warns_of_none(install):
    install("bad", "import not_there_at_all")
    (bad,) = [s for s in plugin_statuses() if s.name == "bad"]  # warnings are errors here
    assert bad.state == "failed"


def test_disabled_by_the_name_of_the_package(install, monkeypatch):
    install("twin", HEAD.format(name="first"), distribution="a.dist")
    install("twin", HEAD.format(name="second"), distribution="b-dist")
    monkeypatch.setenv("FUNDUS_DISABLE_PLUGINS", "A_Dist")
    registry = load_registry()
    assert [s.state for s in status(registry, "twin")] == ["disabled", "loaded"]
    assert registry.find("head", "twin/second")
    with pytest.raises(UnknownNameError, match="FUNDUS_DISABLE_PLUGINS leaves out: twin"):
        registry.find("head", "first")


def test_a_damaged_package_that_has_no_plugin_is_no_concern(install):
    place = install("lost", HEAD.format(name="lost_head"))
    (info,) = place.glob("*.dist-info")
    (info / "entry_points.txt").write_text("[console_scripts]\nno equals sign\n")
    assert status(load_registry(), "lost") == []


def test_capitals_do_not_keep_a_near_name_from_being_offered():
    with pytest.raises(UnknownNameError, match="Did you mean 'vgg16'"):
        get_registry().find("backbone", "VGG16")
