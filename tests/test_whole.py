"""Files and folders are written whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fundus.exceptions import DataError, WriteError
from fundus.runtime import whole
from fundus.runtime.whole import whole_file, whole_folder

ROOT = os.geteuid() == 0


def write(path, text="new"):
    with whole_file(path) as part:
        part.write_text(text)


def fill(path, text="new"):
    with whole_folder(path) as part:
        (part / "inner").mkdir()
        (part / "inner" / "a.txt").write_text(text)


def only(folder):
    """Names in a folder, hidden ones too."""
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("fsync", [True, False])
def test_what_is_written_takes_the_place_of_what_was_there(tmp_path, fsync):
    file = tmp_path / "made" / "too" / "a.csv"
    for text in ("one", "two"):
        with whole_file(file, fsync=fsync) as part:
            assert part.suffix == ".csv"
            assert not part.exists()
            part.write_text(text)
            assert not file.exists() or file.read_text() == "one"
        assert file.read_text() == text
    assert only(file.parent) == ["a.csv"]
    with whole_folder(tmp_path / "run", fsync=fsync) as part:
        (part / "b").write_text("b")
        assert not (tmp_path / "run").exists()
    assert only(tmp_path / "run") == ["b"]
    assert only(tmp_path) == ["made", "run"]


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    fill(tmp_path / "run")
    assert (tmp_path / "run" / "inner" / "a.txt").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_a_failure_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.csv"
    write(file, "old")

    def fails(context, name, failure):
        with context as part:
            (part / name).write_text("half")
            raise failure

    for failure in (ZeroDivisionError(), KeyboardInterrupt(), DataError("no")):
        with pytest.raises(type(failure)):
            fails(whole_file(file), "", failure)
        with pytest.raises(type(failure)):
            fails(whole_folder(tmp_path / "run"), "a", failure)
    assert file.read_text() == "old"
    assert only(tmp_path) == ["a.csv"]


def test_permissions_are_kept_and_follow_the_umask(tmp_path):
    private = tmp_path / "private.csv"
    private.write_text("patients")
    private.chmod(0o600)
    before = os.umask(0o027)
    try:
        write(private)
        write(tmp_path / "new.csv")
        fill(tmp_path / "run")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"private.csv": 0o600, "new.csv": 0o640, "run": 0o750}


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    (tmp_path / "dangling.csv").symlink_to("made.csv")
    write(tmp_path / "link.csv")
    write(tmp_path / "dangling.csv")
    assert (tmp_path / "real.csv").read_text() == (tmp_path / "made.csv").read_text() == "new"
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "dangling.csv").is_symlink()


def test_a_device_is_written_to_directly():
    read, end = os.pipe()
    try:
        with whole_file(f"/dev/fd/{end}") as part:
            part.write_text("straight")
        assert os.read(read, 100) == b"straight"
    finally:
        os.close(read)
        os.close(end)
    with pytest.raises(WriteError, match="'/dev/full' could not be written .*make room"):
        write("/dev/full")


def test_a_name_of_any_length_that_is_legal_can_be_written(tmp_path):
    for name in ("n" * 255, "ä" * 127 + ".", "\udcff" * 255, "m" * 241):
        write(tmp_path / name)
        fill(tmp_path / "in" / name)
    assert len(only(tmp_path)) == 5
    assert len(only(tmp_path / "in")) == 4


@pytest.mark.parametrize("put", [write, fill])
def test_errors_name_the_file_and_say_what_to_do(tmp_path, put):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "loop").symlink_to("loop")
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "kept").touch()
    for path, code, advice in (
        (tmp_path / ("n" * 256), errno.ENAMETOOLONG, "choose a shorter name"),
        (tmp_path / "file" / "a", errno.ENOTDIR, "a file stands where a folder is needed"),
        (tmp_path / "file" / "a" / "b", errno.ENOTDIR, "a file stands where a folder is needed"),
        (tmp_path / ".." / tmp_path.name, None, "a folder has this name|has files in it"),
        (folder, None, "a folder has this name|has files in it"),
        (tmp_path / "loop", None, "the link leads back to itself|is a link"),
    ):
        with pytest.raises(WriteError, match=advice) as caught:
            put(path)
        assert repr(str(path)) in str(caught.value)
        assert code in (None, caught.value.errno)
    assert only(tmp_path) == ["file", "full", "loop"]
    assert (tmp_path / "file").read_text() == "kept"
    assert only(folder) == ["kept"]


def test_a_folder_takes_no_place_of_a_link_or_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "dangling").symlink_to("nothing")
    for name in ("link", "link/", "dangling"):
        with pytest.raises(WriteError, match="is a link, .* give the folder"):
            fill(f"{tmp_path}/{name}")
    monkeypatch.chdir(tmp_path / "empty")
    for name in (".", "./", "", "../empty"):
        with pytest.raises(WriteError, match="working folder.*give a new folder inside it"):
            fill(Path(name))
    assert only(tmp_path) == ["dangling", "empty", "link"]
    assert only(tmp_path / "empty") == []


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(WriteError, match="'.*a.csv' .*change the permissions"):
        write(tmp_path / "locked" / "a.csv")


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO]
)
@pytest.mark.parametrize("call", ["mkdir", "fsync", "replace"])
def test_each_call_that_fails_is_told(tmp_path, monkeypatch, number, call):
    real = getattr(os, call)

    def fails(*args, **more):
        if call == "mkdir" and not str(args[0]).endswith(".part"):
            return real(*args, **more)
        raise OSError(number, os.strerror(number), *(str(a) for a in args if call != "fsync"))

    monkeypatch.setattr(os, call, fails)
    for put in (write, fill):
        with pytest.raises(WriteError, match="'.*/made/a.x' could not be written") as caught:
            put(tmp_path / "made" / "a.x")
        assert caught.value.errno == number
        assert os.strerror(number) in str(caught.value)
    monkeypatch.undo()
    assert only(tmp_path / "made") == []


def test_errors_about_other_files_are_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError, match="other.jpeg"), whole_file(tmp_path / "a.csv"):
        (tmp_path / "other.jpeg").read_bytes()


def test_a_file_beyond_the_limit_is_told(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(WriteError, match="'.*a.csv' .*ulimit -f"):
            write(tmp_path / "a.csv", "x" * 2000)
        write(tmp_path / "b.csv", "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert only(tmp_path) == ["b.csv"]


KILLED = """
import os, sys, signal
from fundus.runtime.whole import whole_file, whole_folder
with whole_file(sys.argv[1]) as file, whole_folder(sys.argv[2]) as folder:
    file.write_text("half")
    (folder / "half").mkdir()
    (folder / "half" / "a").write_text("half")
    print("ready", flush=True)
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


@pytest.mark.parametrize("length", [5, 250])
def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path, length
):
    file, folder = tmp_path / ("f" * length), tmp_path / ("d" * length)

    def start(how):
        command = [sys.executable, "-c", KILLED, str(file), str(folder), how]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with start("killed") as killed:
        killed.stdout.read()
    assert killed.returncode == -signal.SIGKILL
    left = only(tmp_path)
    assert len(left) == 2
    assert all(name.startswith(".") for name in left)
    # of other targets, however alike
    write(f"{file}.12345678"[: len(str(file)) + 5])
    assert set(left) < set(only(tmp_path))
    with start("living") as living:
        assert living.stdout.readline() == b"ready\n"
        assert not set(left) & set(only(tmp_path))
        at_work = set(only(tmp_path))
        write(file)
        fill(folder)
        assert at_work < set(only(tmp_path))
        living.stdin.close()
        assert living.wait() == 1  # the folder now has files in it
    assert file.read_text() == "new"
    assert only(folder) == ["inner"]
    assert not [name for name in only(tmp_path) if name.startswith(".")]


def test_what_others_have_named_alike_is_not_removed(tmp_path):
    (tmp_path / ".a.csv.01234567.part").mkdir()
    (tmp_path / ".a.csv.01234567.part" / "mine").touch()
    (tmp_path / ".a.csv.89abcdef.part").write_text("mine")
    (tmp_path / ".a.csv.0123456.part").mkdir()
    (tmp_path / ".a.csv.76543210.part").symlink_to(".a.csv.01234567.part")
    before = only(tmp_path)
    write(tmp_path / "a.csv")
    assert only(tmp_path) == sorted([*before, "a.csv"])
    (tmp_path / ".a.csv.01234567.part" / "mine").unlink()
    write(tmp_path / "a.csv")  # killed between two steps, before it had a lock
    assert ".a.csv.01234567.part" not in only(tmp_path)


def _writes(path, number, barrier):
    barrier.wait()
    for _ in range(40):
        with whole_file(path, fsync=False) as part:
            part.write_text(f"{number}" * 10_000)


def test_many_writers_of_one_file(tmp_path):
    path = tmp_path / "a.txt"
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    others = [spawn.Process(target=_writes, args=(path, k, barrier)) for k in (1, 2)]
    for other in others:
        other.start()
    barrier.wait()
    threads = [
        threading.Thread(target=_writes, args=(path, k, threading.Barrier(1))) for k in (3, 4)
    ]
    for thread in threads:
        thread.start()
    for one in (*threads, *others):
        one.join()
    assert [other.exitcode for other in others] == [0, 0]
    assert path.read_text() in {f"{k}" * 10_000 for k in (1, 2, 3, 4)}
    assert only(tmp_path) == ["a.txt"]


def test_where_the_file_system_has_no_locks(tmp_path, monkeypatch):
    for failure in (NotImplementedError(), OSError(errno.ENOLCK, "No locks available")):

        def fails(*_, error=failure, **__):
            raise error

        monkeypatch.setattr(whole.FileLock, "acquire", fails)
        write(tmp_path / "a.csv")
        fill(tmp_path / "run")
        assert only(tmp_path) == ["a.csv", "run"]
        (tmp_path / "run" / "inner" / "a.txt").unlink()
        (tmp_path / "run" / "inner").rmdir()
