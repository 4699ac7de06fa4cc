"""A stand-in for the Hub: what its HTTP interface answers to huggingface_hub, on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_of_the_owner"
READER = "hf_that_only_reads"


@dataclass
class Repo:
    """A repository: files by commit, commits by branch."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        seed = branch + "".join(sorted(files)) + str(len(self.commits))
        sha = hashlib.sha1(seed.encode() + b"".join(files.values())).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def find(self, revision: str) -> str | None:
        sha = self.branches.get(revision, revision)
        return sha if sha in self.commits else None


@dataclass
class Hub:
    """The repositories, and what was asked: methods and paths."""

    address: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    #: Sizes that it says instead of the real ones, by name of the file.
    sizes: dict[str, int] = field(default_factory=dict)
    #: Answers to everything, where it is ill.
    status: int | None = None

    def fetched(self) -> list[str]:
        return [line.split("/")[-1] for line in self.asked if line.startswith("GET /")
                and "/resolve/" in line]  # fmt: skip


def pushed_card(hub: Hub) -> tuple[dict[str, Any], str]:
    """Metadata and text of the card of clinic/grader."""
    repo = hub.repos["clinic/grader"]
    _, head, text = repo.commits[repo.branches["main"]]["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(head), text


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()

    class Answer(_Answer):
        of = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answer(BaseHTTPRequestHandler):
    of: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.of.asked.append(f"{self.command} {path}")
        if self.of.status is not None:
            return self._send(self.of.status, {"error": "ill"})
        parts = path.strip("/").split("/")
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if bearer not in ("", TOKEN, READER):
            return self._send(401, {"error": "Invalid credentials in Authorization header"})
        if path == "/api/repos/create":
            return self._create(json.loads(body), bearer)
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if parts[:2] == ["api", "models"]:
            return self._model("/".join(parts[2:4]), parts[4:], body, bearer)
        if parts[2:3] == ["resolve"]:
            return self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), bearer)
        return self._send(404, {"error": "no such page"})

    def _repo(self, name: str, bearer: str) -> Repo | None:
        repo = self.of.repos.get(name)
        if repo is None or (repo.private and not bearer):
            status = 404 if bearer else 401
            self._send(status, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return repo

    def _create(self, asked: dict[str, Any], bearer: str) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if bearer != TOKEN:
            return self._send(403, {"error": "You don't have the rights to create a model"})
        private = asked.get("private", asked.get("visibility") == "private")
        self.of.repos[name] = Repo(private=private)
        self.of.repos[name].commit({".gitattributes": b""})
        return self._send(200, {"url": f"{self.of.address}/{name}", "name": name})

    def _model(self, name: str, rest: list[str], body: bytes, bearer: str) -> None:
        repo = self._repo(name, bearer)
        if repo is None:
            return None
        if rest[:1] in (["preupload"], ["commit"]) and bearer != TOKEN:
            return self._send(403, {"error": "You don't have the rights to write"})
        if rest[:1] == ["preupload"]:
            named = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in named]
            return self._send(200, {"files": modes})
        if rest[:1] == ["commit"]:
            lines = [json.loads(line) for line in body.splitlines()]
            new = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            sha = repo.commit(repo.commits[repo.branches["main"]] | new)
            url = f"{self.of.address}/{name}/commit/{sha}"
            return self._send(200, {"commitUrl": url, "commitOid": sha, "success": True})
        sha = repo.find("/".join(rest[1:]) if rest[:1] == ["revision"] else "main")
        if sha is None:
            return self._no_revision()
        files = [self._described(*file) for file in repo.commits[sha].items()]
        found = {"_id": "1", "id": name, "modelId": name, "sha": sha, "private": repo.private}
        return self._send(200, found | {"tags": [], "downloads": 0, "siblings": files})

    def _described(self, name: str, data: bytes) -> dict[str, Any]:
        size = self.of.sizes.get(name, len(data))
        described: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0"}
        if name.endswith((".npz", ".h5", ".skops")):
            digest = hashlib.sha256(data).hexdigest()
            described["lfs"] = {"sha256": digest, "size": size, "pointerSize": 100}
        return described

    def _file(self, name: str, revision: str, file: str, bearer: str) -> None:
        repo = self._repo(name, bearer)
        if repo is None:
            return None
        sha = repo.find(revision)
        if sha is None:
            return self._no_revision()
        data = repo.commits[sha].get(file)
        if data is None:
            return self._send(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
        more = {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        return self._send(200, data, more)

    def _no_revision(self) -> None:
        more = {"X-Error-Code": "RevisionNotFound"}
        self._send(404, {"error": "Invalid rev id"}, more)

    def _send(self, status: int, found: Any, more: dict[str, str] | None = None) -> None:
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        kind = "application/octet-stream" if found is data else "application/json"
        for name, value in {"Content-Type": kind, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found
