"""Whether an address answers, on stand-ins of the network."""

from __future__ import annotations

import http.server
import socket
import threading
import time
import urllib.error

import pytest

from fundus.exceptions import InvalidParameterError
from fundus.runtime.reach import why_out_of_reach

URL = "https://weights.test/small.h5"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setattr("urllib.request.getproxies", dict)


@pytest.fixture
def connected(monkeypatch):
    """Let every connection succeed, and record where to."""
    asked = []

    class Connection:
        def close(self):
            asked.append("closed")

    def connect(address, timeout):
        asked.append(address)
        return Connection()

    monkeypatch.setattr("socket.create_connection", connect)
    return asked


@pytest.fixture
def server():
    """A server of this machine, and the paths that it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.command, self.path))
            if self.path == "/odd":
                self.wfile.write(b"SSH-2.0-Server\r\n")
                return
            status = self.path.strip("/")
            self.send_response(int(status) if status.isdigit() else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def test_what_is_there_is_in_reach_and_is_not_fetched(server):
    address, asked = server
    assert why_out_of_reach(f"{address}/there.h5") == ""
    assert asked == [("HEAD", "/there.h5")]


def test_a_missing_file_is_told_with_its_number(server):
    assert why_out_of_reach(f"{server[0]}/404") == "127.0.0.1 answered 404, Not Found"
    assert why_out_of_reach(f"{server[0]}/410") == "127.0.0.1 answered 410, Gone"


@pytest.mark.parametrize("status", [401, 403, 405, 429, 501, 503])
def test_a_refusal_of_the_question_says_nothing_about_the_file(server, status):
    """A download asks in another way, with a name and a password."""
    assert why_out_of_reach(f"{server[0]}/{status}") == ""
    assert len(server[1]) == 1


def test_an_answer_of_another_protocol_is_told(server):
    assert why_out_of_reach(f"{server[0]}/odd") == "127.0.0.1 does not answer (SSH-2.0-Server)"


@pytest.mark.parametrize("proxy", ["http://me:secret", "me:secret@proxy.test:x", "http://", "[::1"])
def test_a_proxy_that_is_none_is_told_by_its_variable(monkeypatch, connected, proxy):
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": proxy})
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: False)
    why = why_out_of_reach(URL)
    assert why.startswith("https_proxy names no proxy, such as http://")
    assert "secret" not in why
    assert connected == []


def test_an_address_that_is_none_is_told(connected):
    why = why_out_of_reach("https://weights.test:port/x.h5")
    assert why == "'https://weights.test:port/x.h5' is no address"
    assert connected == []


def test_a_look_up_of_the_proxy_that_hangs_is_not_waited_for(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy.test"})
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: released.wait(60))
    start = time.perf_counter()
    why = why_out_of_reach(URL)
    took = time.perf_counter() - start
    released.set()
    assert why == "weights.test does not answer (no connection within 0.5 s)"
    assert took < 5  # of 60


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), TimeoutError("timed out")]
)
def test_no_connection_is_told_with_its_reason(monkeypatch, error):
    def refuse(address, timeout):
        raise error

    monkeypatch.setattr("socket.create_connection", refuse)
    reason = "Name or service not known" if isinstance(error, socket.gaierror) else "timed out"
    assert why_out_of_reach(URL) == f"weights.test does not answer ({reason})"


@pytest.mark.parametrize("seconds", [None, "0.1"])
def test_a_name_server_that_hangs_is_not_waited_for(monkeypatch, seconds):
    if seconds is not None:
        monkeypatch.setenv("FUNDUS_NETWORK_SECONDS", seconds)
    released = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: released.wait(60) and [])
    start = time.perf_counter()
    why = why_out_of_reach(URL)
    took = time.perf_counter() - start
    released.set()
    assert why == f"weights.test does not answer (no connection within {seconds or 0.5} s)"
    assert took < 5  # of 60, on a machine that does much else


def test_a_host_that_answers_slowly_is_in_reach(monkeypatch, connected):
    """Once it has accepted a connection, it has longer than that to answer."""
    given = []

    class Response:
        def close(self):
            given.append("closed")

    def urlopen(request, timeout):
        given.append((request.get_method(), request.full_url, timeout))
        return Response()

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    assert why_out_of_reach(URL) == ""
    assert given == [("HEAD", URL, 15), "closed"]
    assert connected == [("weights.test", 443), "closed"]


def test_the_proxy_is_asked_where_there_is_one(monkeypatch, connected):
    proxies = {"https": "http://me:secret@proxy.test:3128"}
    monkeypatch.setattr("urllib.request.getproxies", lambda: proxies)
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: host == "inside.test")

    def urlopen(request, timeout):
        raise urllib.error.URLError("Tunnel connection failed: 403 Forbidden")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    why = why_out_of_reach(URL)
    assert why == "the proxy proxy.test does not answer (Tunnel connection failed: 403 Forbidden)"
    assert connected[0] == ("proxy.test", 3128)
    assert why_out_of_reach("https://inside.test:8443/x.h5").startswith("inside.test does not")
    assert connected[2] == ("inside.test", 8443)


def test_no_host_is_asked_where_none_may_be(monkeypatch, connected):
    monkeypatch.setenv("FUNDUS_NETWORK_SECONDS", "0")
    assert why_out_of_reach(URL) == "FUNDUS_NETWORK_SECONDS=0 allows no download"
    assert connected == []


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan", "1e10"])
def test_seconds_that_are_none_are_refused(monkeypatch, connected, text):
    monkeypatch.setenv("FUNDUS_NETWORK_SECONDS", text)
    with pytest.raises(InvalidParameterError, match=f"number of seconds.* Got '{text}' instead"):
        why_out_of_reach(URL)
    assert connected == []
