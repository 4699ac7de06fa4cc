"""Models on the Hub: pushed, fetched as their manifest says, refused with what to do."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hub_standin import READER, TOKEN, Hub, Repo, pushed_card
from huggingface_hub import constants

from fundus import TransferClassifier, load, push_to_hub
from fundus.exceptions import (
    BundleError,
    HubError,
    InvalidParameterError,
    MissingDependencyError,
    UnpinnedWarning,
)
from fundus.hub.address import HubModel, hub_model
from fundus.saving.bundle import read_more, save

NAME = "hf://clinic/grader"


@pytest.fixture(scope="module")
def fitted(photographs):
    model = TransferClassifier(
        "tiny", "ridge", weights="fixed", image_size=32, grades=5, random_state=0
    )
    return model.fit(photographs.paths, photographs.grades)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    about = {"settings": {"data": "/home/anna/eyes.csv", "recipe": "fast"}}
    save(fitted, folder, about=about, more={"training_images.csv": b"pixels_sha256\n"})
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shared(hub: Hub, files: dict[str, bytes], *, private: bool = False) -> str:
    """Put files into a repository; return the name with the commit."""
    repo = hub.repos.setdefault("clinic/grader", Repo(private=private))
    return f"{NAME}@{repo.commit(files)}"


def with_manifest(bundle: dict[str, bytes], **changes) -> dict[str, bytes]:
    manifest = json.loads(bundle["manifest.json"]) | changes
    return bundle | {"manifest.json": json.dumps(manifest).encode()}


def test_what_is_pushed_is_what_is_loaded(hub, fitted, photographs, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    name = push_to_hub(fitted, "clinic/grader", licence="mit")
    assert hub.repos["clinic/grader"].private
    assert hub_model(name).is_pinned
    found = load(name)
    X = photographs.paths
    np.testing.assert_array_equal(found.predict_severity(X), fitted.predict_severity(X))
    data, text = pushed_card(hub)
    assert data["license"] == "mit"
    assert data["library_name"] == "fundus-zoo"
    assert "diabetic-retinopathy" in data["tags"]
    assert "fundus predict hf://clinic/grader photographs/" in text


def test_without_a_revision_the_commit_is_told_and_asked_for_once(hub, saved):
    name = shared(hub, files_of(saved))
    with pytest.warns(UnpinnedWarning, match=f"It is '{name}' now"):
        load(NAME)
    assert hub.asked.count("GET /api/models/clinic/grader") == 1
    commit, files = hub_model(name).revision, [line for line in hub.asked if "/resolve/" in line]
    assert all(commit in line for line in files if not line.endswith("/main/manifest.json"))


def test_a_branch_is_looked_up_and_a_commit_is_not(hub, saved):
    files = files_of(saved)
    name = shared(hub, files)
    hub.repos["clinic/grader"].commit(files | {"x": b""}, branch="v1")
    hub.repos["clinic/grader"].commit({}, branch="main")
    with pytest.warns(UnpinnedWarning, match="'hf://clinic/grader@v1' may be another model"):
        load(f"{NAME}@v1")
    load(name)


def test_only_the_files_of_the_manifest_are_fetched(hub, saved):
    files = files_of(saved)
    name = shared(hub, files | {"setup.py": b"1/0", "data.pkl": b"x", "README.md": b"# Mine"})
    load(name)
    assert sorted(hub.fetched()) == sorted(files)
    (manifest,) = Path(constants.HF_HUB_CACHE).rglob("snapshots/*/manifest.json")
    manifest.with_name("README.md").write_bytes(b"# Mine")  # as other clients of the Hub would
    assert read_more(name, "README.md") is None
    assert read_more(name, "training_images.csv") == (b"pixels_sha256\n", True)


def test_what_is_cached_is_used_without_a_network(hub, saved, monkeypatch):
    name = shared(hub, files_of(saved))
    load(name)
    hub.asked.clear()
    load(name)
    assert hub.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    load(name)


def test_without_a_network_a_branch_is_the_commit_of_last_time(hub, saved, monkeypatch):
    name = shared(hub, files_of(saved))
    with pytest.warns(UnpinnedWarning):
        load(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    with pytest.warns(UnpinnedWarning, match=f"{name}.*the last one of this machine"):
        load(NAME)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("address", "offline", "why"),
    [
        ("http://127.0.0.1:9", False, "127.0.0.1 does not answer"),
        ("http://127.0.0.1:9", True, "HF_HUB_OFFLINE forbids to ask it"),
    ],
)
def test_no_network_is_told_at_once(hub, fitted, monkeypatch, address, offline, why):
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("FUNDUS_NETWORK_SECONDS", "0.2")
    start = time.monotonic()
    with pytest.raises(HubError, match=f"{why}.*this machine has not loaded it before"):
        load(NAME)
    with pytest.raises(HubError, match=f"{why}.*files are not all in the cache"):
        load(f"{NAME}@{'0' * 40}")
    assert time.monotonic() - start < 3
    with pytest.raises(HubError, match=f"cannot be pushed: .*{why}"):
        push_to_hub(fitted, NAME)


def test_the_extra_is_named(monkeypatch, fitted):
    monkeypatch.setattr("fundus.hub.client.find_spec", lambda name: None)
    for call in (lambda: load(NAME), lambda: push_to_hub(fitted, NAME)):
        with pytest.raises(MissingDependencyError, match=r"pip install 'fundus-zoo\[hub\]'"):
            call()


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda files: None, HubError, "There is no model 'hf://clinic/grader' .*hf auth login"),
        (lambda files: {"config.json": b"{}"}, BundleError, "no saved model of fundus-zoo"),
        (lambda files: with_manifest(files, format=99), BundleError, "format 99.*upgrade"),
        (lambda files: files | {"model.json": b"{}"}, BundleError, "SHA-256 is not the one"),
        (lambda files: files | {"part-01.skops": b"x"}, BundleError, "The Hub has .* instead"),
        (lambda files: files | {"manifest.json": b"["}, BundleError, "must be JSON"),
        (
            lambda files: with_manifest(files, files={"../x": "0" * 64, "model.json": "0" * 64}),
            BundleError,
            "must list plain names",
        ),
        (
            lambda files: {k: v for k, v in files.items() if k != "part-01.skops"},
            BundleError,
            "lacks the file 'part-01.skops'",
        ),
    ],
    ids=["unknown", "no bundle", "newer", "changed", "other lfs", "no json", "path", "lacking"],
)
def test_what_is_no_model_is_refused(hub, saved, make, error, told):
    files = make(files_of(saved))
    name = f"{NAME}@{'0' * 40}" if files is None else shared(hub, files)
    with pytest.raises(error, match=told) as raised:
        load(name)
    assert NAME in str(raised.value)


def test_a_file_that_is_too_large_is_not_fetched(hub, saved):
    hub.sizes["part-01.skops"] = 5 << 30
    name = shared(hub, files_of(saved))
    with pytest.raises(BundleError, match="at most 4,294,967,296 bytes together. The Hub"):
        load(name)
    assert "part-01.skops" not in hub.fetched()


def test_a_changed_file_in_the_cache_is_refused(hub, saved):
    name = shared(hub, files_of(saved))
    load(name)
    for file in Path(constants.HF_HUB_CACHE).rglob("snapshots/*/model.json"):
        file.resolve().write_bytes(b"{}")
    with pytest.raises(BundleError, match="model.json' is damaged"):
        load(name)


def test_a_revision_that_is_not_there(hub, saved):
    shared(hub, files_of(saved))
    with pytest.raises(HubError, match="has no revision 'v7' on the Hub: give a commit"):
        load(f"{NAME}@v7")


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (None, "it is private and this machine, which has no token, may not read it"),
        ("hf_wrong", "The Hub does not accept this machine's token.*hf auth login"),
    ],
)
def test_a_private_model_needs_a_token(hub, saved, monkeypatch, token, told):
    name = shared(hub, files_of(saved), private=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=told):
        load(name)
    monkeypatch.setenv("HF_TOKEN", READER)
    load(name)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (None, "has no token of the Hub: make one with the right to write"),
        ("hf_wrong", "does not accept this machine's token"),
        (READER, "may not be used for this, so .* cannot be written"),
    ],
)
def test_to_push_needs_a_token_that_may_write(hub, fitted, monkeypatch, token, told):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=told):
        push_to_hub(fitted, NAME)
    assert hub.repos == {}


def test_an_ill_hub_is_told(hub):
    hub.status = 503
    with pytest.raises(HubError, match="The Hub answered 503, so .* cannot be read"):
        load(NAME)


@pytest.mark.parametrize(
    "name", ["grader", "hf://grader", "hf://a/b/c", "hf://a/../b", "hf://a/b@"]
)
def test_names_that_are_none(name, fitted):
    with pytest.raises(InvalidParameterError, match="must be hf://owner/name"):
        push_to_hub(fitted, name)
    if name.startswith("hf://"):
        with pytest.raises(InvalidParameterError, match="must be hf://owner/name"):
            load(name)


def test_a_path_has_one_slash_of_two():
    assert hub_model(Path("hf://clinic/grader@v1")) == HubModel("clinic/grader", "v1")
    assert hub_model(Path("hf:x")) is None


def test_a_public_repository_takes_no_private_model(hub, saved, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    shared(hub, {"README.md": b"# Mine"})
    with pytest.raises(HubError, match="is public, .* pass private=False"):
        push_to_hub(saved, NAME)
    with pytest.raises(InvalidParameterError, match="'licence' parameter.*nobody may use"):
        push_to_hub(saved, NAME, private=False)
    with pytest.raises(InvalidParameterError, match="'licence' parameter.*as the Hub names it"):
        push_to_hub(saved, NAME, private=False, licence="My own: ask")
    assert len(hub.repos["clinic/grader"].commits) == 1


def test_a_card_of_somebody_is_kept_and_an_own_one_replaced(hub, saved, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    shared(hub, {"README.md": b"---\nlicense: mit\n---\n# Mine"})

    def push(**more):
        push_to_hub(saved, NAME, private=False, licence="cc0-1.0", **more)
        return pushed_card(hub)

    assert push()[1] == "# Mine"
    assert push(replace_card=True)[0]["license"] == "cc0-1.0"
    monkeypatch.setattr("fundus.sharing.card.TAGS", ("other",))
    assert push()[0]["tags"] == ["other"]


def test_paths_of_this_machine_are_not_pushed(hub, saved, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    name = push_to_hub(saved, NAME)
    repo = hub.repos["clinic/grader"]
    files = repo.commits[repo.branches["main"]]
    assert json.loads(files["model.json"])["about"]["settings"] == {
        "data": "eyes.csv",
        "recipe": "fast",
    }
    assert b"anna" not in b"".join(files.values())
    load(name)


def test_paths_among_parameters_are_not_pushed(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    X = np.random.default_rng(0).integers(0, 255, (10, 32, 32, 3), dtype=np.uint8)
    model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False).fit(
        X, [*range(5)] * 2
    )
    saved = tmp_path / "saved"
    save(model, saved, about={"settings": {"data": "../anna_1950/eyes.csv", "recipe": "a/b"}})
    push_to_hub(saved, NAME)
    repo = hub.repos["clinic/grader"]
    pushed = json.loads(repo.commits[repo.branches["main"]]["model.json"])["about"]["settings"]
    assert pushed == {"data": "eyes.csv", "recipe": "a/b"}


def test_a_branch_named_like_a_commit_is_no_commit(hub, saved, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    name = push_to_hub(saved, NAME)
    repo = hub.repos["clinic/grader"]
    alias = "0123456789abcdef" * 2 + "01234567"
    repo.branches[alias] = repo.branches["main"]
    with pytest.raises(HubError, match="leads to the commit"):
        load(f"{name.split('@')[0]}@{alias}")
    load(name)


def test_a_card_that_was_changed_at_the_hub_is_kept(hub, saved, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push_to_hub(saved, NAME)
    repo = hub.repos["clinic/grader"]
    files = repo.commits[repo.branches["main"]]
    edited = files["README.md"] + b"\nScored by us on 900 photographs.\n"
    repo.commit({**files, "README.md": edited})
    push_to_hub(saved, NAME)
    assert repo.commits[repo.branches["main"]]["README.md"] == edited
    push_to_hub(saved, NAME, replace_card=True)
    assert repo.commits[repo.branches["main"]]["README.md"] != edited
