"""``fundus serve``: what it refuses before it listens, and the whole of it as a program."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pandas as pd
import pytest

from fundus.serving import extra

TOKEN = "a token that is long enough"


def flat(text):
    return " ".join(text.replace("│", " ").split())


def test_a_run_that_cannot_be_loaded_is_told(run, tmp_path):
    told = run("serve", tmp_path / "none", "--port", "0", code=1)
    assert "There is no run" in flat(told.stderr)
    (tmp_path / "begun").mkdir()
    told = run("serve", tmp_path / "begun", "--port", "0", code=1)
    assert "is not a complete run" in flat(told.stderr)


def test_a_port_in_use_is_told_before_the_model_is_loaded(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = run("serve", tmp_path / "none", "--port", port, code=1)
    assert f"Port {port} of '127.0.0.1' cannot be used" in flat(told.stderr)
    assert "give --port another one" in flat(told.stderr)


def test_others_need_a_token(run, tmp_path, monkeypatch):
    monkeypatch.delenv("FUNDUS_SERVE_TOKEN", raising=False)
    told = run("serve", tmp_path, "--host", "0.0.0.0", "--port", "0", code=2)
    assert "set FUNDUS_SERVE_TOKEN" in flat(told.stderr)
    told = run("serve", tmp_path, "--token", "short", code=2)
    assert "at least 16 printable ASCII characters. Got 5" in flat(told.stderr)
    assert "short" not in told.stderr
    told = run("serve", tmp_path, "--token", f" {TOKEN}", code=2)
    assert "begins or ends with a space" in flat(told.stderr)
    monkeypatch.setenv("FUNDUS_SERVE_TOKEN", TOKEN)
    told = run("serve", tmp_path / "none", "--host", "0.0.0.0", "--port", "0", code=1)
    assert "There is no run" in flat(told.stderr)


def test_limits_that_would_not_hold_are_refused(run, tmp_path):
    told = run("serve", tmp_path, "--max-megapixels", "300", code=2)
    assert "no image of more than 178.957 is read here" in flat(told.stderr)
    assert "FUNDUS_IMAGE_LIMITS (max_pixels=" in flat(told.stderr)
    told = run("serve", tmp_path, "--max-megabytes", "2000", code=2)
    assert "no image of more than 1024 is read here" in flat(told.stderr)


def test_a_request_holds_no_more_than_the_queue(run, tmp_path, monkeypatch):
    from fundus.cli import serve
    from fundus.exceptions import DataError
    from fundus.serving import app, served

    taken = []

    def make_app(_, limits, **options):
        taken.append((limits.max_files, limits.max_waiting))
        raise DataError("Enough.")

    model = SimpleNamespace(model=None, class_names=[], warm_up=lambda: None)
    monkeypatch.setattr(serve, "model_of", lambda _: model)
    monkeypatch.setattr(served, "ServedModel", lambda *_: model)
    monkeypatch.setattr(app, "make_app", make_app)
    for queue in (5, 100):
        assert "Enough." in run("serve", tmp_path, "--port", "0", "--queue", queue, code=1).stderr
    assert taken == [(5, 5), (32, 100)]


def test_a_missing_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    told = run("serve", tmp_path, code=1)
    assert "pip install 'fundus-zoo[serve]'" in flat(told.stderr)


def test_its_help_loads_nothing(tmp_path):
    code = (
        "import runpy, sys\nsys.argv = ['fundus', 'serve', '--help']\n"
        "try:\n    runpy.run_module('fundus', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'fastapi', 'uvicorn', 'numpy', 'keras'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--max-megapixels" in said.stdout
    assert said.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals as on Unix")
def test_the_program_grades_as_predict_does_and_keeps_nothing(trained, others, run, tmp_path):
    places = {name: tmp_path / name for name in ("tmp", "cache", "home")}
    for place in places.values():
        place.mkdir()
    where = {"TMPDIR": places["tmp"], "FUNDUS_CACHE_DIR": places["cache"], "HOME": places["home"]}
    environment = {**os.environ, **{name: str(place) for name, place in where.items()}}
    eyes = sorted(others.rglob("*.jpeg"))[:3]
    run("predict", trained[0], *eyes, "-o", tmp_path / "grades.csv")
    wanted = pd.read_csv(tmp_path / "grades.csv")
    command = [sys.executable, "-m", "fundus", "serve", str(trained[0]), "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=places["home"],
    ) as server:  # fmt: skip
        try:
            address = re.search(r"http://\S+", server.stdout.readline())[0]
            before = files_in(places)
            with httpx.Client(base_url=address, timeout=60) as client:
                for path in eyes:
                    sent = {"file": (path.name, path.read_bytes())}
                    found = client.post("/v1/grade", files=sent).json()
                    row = wanted[wanted["id"] == path.stem].iloc[0]
                    assert found["grade"] == row["grade"]
                    assert found["severity"] == pytest.approx(row["severity"], abs=1e-5)
                    assert client.post("/v1/explain", files=sent).status_code == 200
            assert files_in(places) == before
        finally:
            server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=30)
    assert server.returncode == 0, errors
    assert "The server has ended." in errors
    assert "Traceback" not in errors
    assert not any((places["tmp"]).iterdir())
    assert not any((places["cache"]).iterdir())


def files_in(places: dict[str, Path]) -> set[Path]:
    return {path for place in places.values() for path in place.rglob("*")}
