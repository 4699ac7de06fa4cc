"""The HTTP interface of `fundus serve`: grades, limits, refusals, and nothing on disc."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from attacks import bombs, images
from image_samples import encode, scene
from serving_toys import LIMITS, POINTS, answer_of, connected, running, toy, until

from fundus.exceptions import DivergedError, ImageReadError, MissingDependencyError
from fundus.reporting.predictions import predict_images
from fundus.serving import answers, extra
from fundus.serving.app import make_app
from fundus.serving.batches import Batches
from fundus.serving.guard import HEADERS
from fundus.serving.limits import ServingLimits
from fundus.serving.problems import Problem
from fundus.serving.server import AddressError, bound

JPEG = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def served(photographs):
    return toy(photographs)


@pytest.fixture(scope="module")
def address(served):
    with running(served) as found:
        yield found


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def eyes(photographs):
    return [Path(path) for path in photographs.paths[:6]]


def post(client, data, path="/v1/grade", **options):
    return client.post(path, content=data, headers=JPEG, **options)


def files_of(paths, field="files"):
    return [(field, (path.name, path.read_bytes())) for path in paths]


def problem_of(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"].endswith(".")
    assert found["advice"].endswith(".")
    return found


def test_a_grade_is_that_of_the_file(client, eyes, served):
    wanted = predict_images(served.model, [str(path) for path in eyes])
    table = wanted.to_frame()
    for row, path in enumerate(eyes):
        raw = post(client, path.read_bytes(), params={"name": path.name}).json()
        found = client.post("/v1/grade", files=files_of([path], "file")).json()
        assert raw == found
        answers.GradeAnswer.model_validate(found, strict=True)
        assert found["grade"] == wanted.grades[row]
        assert found["severity"] == pytest.approx(wanted.severity[row], abs=1e-5)
        np.testing.assert_allclose(found["probabilities"], wanted.proba[row], atol=1e-5)
        assert ";".join(map(str, found["set"])) == table["grades_set"][row]
        assert found["defer"] == table["defer"][row]
        assert found["referrals"][0]["refer"] == wanted.referable[row]
        assert [at["threshold"] for at in found["referrals"]] == [1.5, 2.25, 2.25]
        assert found["referrals"][1]["refer"] == (wanted.severity[row] >= POINTS[1].threshold)
        assert found["file"] == path.name
        assert (found["width"], found["height"]) == (64, 64)
        assert "medical device" in found["notice"]


def test_the_bytes_are_those_of_the_file(client, eyes, monkeypatch):
    """What the model reads, from a form and from a bare body."""
    from fundus.serving import served as module

    real, seen = module.predict_members, []
    monkeypatch.setattr(
        module, "predict_members", lambda model, them: seen.extend(them) or real(model, them)
    )
    post(client, eyes[0].read_bytes())
    client.post("/v1/grade", files=files_of(eyes[:1], "file"))
    assert seen == [eyes[0].read_bytes()] * 2


def test_folds_are_told_apart(client, eyes, served):
    found = client.post("/v1/grade", files=files_of(eyes[:1], "file")).json()
    folds = [
        model.predict_severity([str(eyes[0])])[0] for model in served.model.ensemble_.estimators_
    ]
    np.testing.assert_allclose(found["folds"]["severities"], folds, atol=1e-5)
    assert found["folds"]["agreeing"] == found["folds"]["grades"].count(found["grade"])
    assert np.mean(folds) == pytest.approx(found["severity"], abs=1e-5)


def test_a_batch_keeps_its_order_and_its_bad_files_apart(client, eyes):
    bad = ("files", ("../../notes.jpg", b"no image"))
    sent = [*files_of(eyes[:1]), bad, *files_of(eyes[1:2])]
    response = client.post("/v1/grade/batch", files=sent)
    assert response.status_code == 200
    first, wrong, last = response.json()["results"]
    answers.BatchAnswer.model_validate(response.json())
    alone = [
        post(client, path.read_bytes(), params={"name": path.name}).json() for path in eyes[:2]
    ]
    for found, single in zip((first, last), alone, strict=True):
        assert found["severity"] == pytest.approx(single["severity"], abs=1e-5)
        assert found["file"] == single["file"]
    assert (wrong["status"], wrong["file"]) == (422, "notes.jpg")


def test_a_bad_image_in_a_batch_of_the_model_touches_no_other(client, eyes):
    """Without the look at the picture, what is damaged inside reaches the model's batch."""
    whole = bytearray(encode(scene(), "PNG"))
    at = whole.index(b"IDAT") + 8
    whole[at : at + 40] = b"\xff" * 40
    images.checksums(whole)
    sent = [*files_of(eyes[:1]), ("files", ("torn.png", bytes(whole))), *files_of(eyes[1:2])]
    found = client.post("/v1/grade/batch?quality=false", files=sent).json()["results"]
    assert [one.get("status") for one in found] == [None, 422, None]
    assert "'torn.png'" in found[1]["detail"]
    assert found[0]["quality"] is None


def test_poor_pictures_are_told(client, eyes):
    def issues(picture):
        found = post(client, encode(picture, "PNG")).json()
        return {warning["issue"] for warning in found["warnings"]}

    photograph = np.asarray(images.Image.open(eyes[0]).resize((300, 300)))
    assert "dark" not in issues(photograph)
    assert "dark" in issues((photograph // 20).astype(np.uint8))
    assert "no_field_of_view" in issues(np.full((200, 200, 3), 130, np.uint8))
    assert "small" in issues(photograph[::12, ::12])


def test_a_map_lies_on_its_photograph(client, eyes, served):
    import base64
    import io

    response = post(client, eyes[2].read_bytes(), "/v1/explain")
    found = answers.MapAnswer.model_validate(response.json(), strict=True)
    wanted = served.model.explain([str(eyes[2])])
    assert found.value == pytest.approx(wanted.value[0], abs=1e-5)
    values = wanted.map(0)
    assert found.raised == pytest.approx(values[values > 0].sum(), rel=1e-3)
    assert found.bias + found.raised + found.lowered == pytest.approx(found.value, abs=1e-4)
    over = np.asarray(
        images.Image.open(io.BytesIO(base64.b64decode(found.overlay.partition(",")[2])))
    )
    assert over.shape == (*values.shape, 4)
    strong = over[..., 3] > 128
    assert strong.any()
    assert ((over[..., 0] > over[..., 2]) == (values >= 0))[strong].all()
    wrong = problem_of(post(client, b"text", "/v1/explain"), 422)
    assert "expected a JPEG" in wrong["detail"]


def test_a_large_map_has_the_sum_of_the_whole_one(eyes, served):
    from fundus.serving.maps import LONGEST, map_of

    large = encode(np.asarray(images.Image.open(eyes[2]).resize((1500, 1300))), "PNG")
    found = map_of(served.model, large)
    shown = np.asarray(images.Image.open(images.io.BytesIO(found.overlay)))
    assert max(shown.shape[:2]) == LONGEST
    assert found.bias + found.raised + found.lowered == pytest.approx(found.value, abs=1e-3)


def test_the_model_and_the_description(client, eyes, served):
    found = answers.ModelAnswer.model_validate(client.get("/v1/model").json(), strict=True)
    assert found.folds == 3
    assert found.confidence_level == 0.7
    assert found.grades[1] == "1 mild NPDR"
    assert found.limits.max_bytes == LIMITS.max_bytes
    middle = np.median([model.cutpoints_ for model in served.model.ensemble_.estimators_], axis=0)
    cuts = np.array([np.inf if cut is None else cut for cut in found.cutpoints])
    np.testing.assert_allclose(cuts, np.maximum(middle, answers.LOWEST))
    for path in eyes:  # the band in which the severity lies is that of the grade
        graded = post(client, path.read_bytes()).json()
        assert np.searchsorted(cuts, graded["severity"], side="right") == graded["grade"]
    described = client.get("/openapi.json").json()
    assert {"/v1/grade", "/v1/grade/batch", "/v1/explain", "/health"} <= set(described["paths"])
    body = described["paths"]["/v1/grade"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "image/jpeg"} <= set(body)
    names = set(described["components"]["schemas"])
    for reference in set(json.dumps(described).split('"#/components/schemas/')[1:]):
        assert reference.partition('"')[0] in names
    assert client.get("/docs").status_code == 404  # whose scripts would come from elsewhere


def test_health_and_numbers(client, eyes):
    def value(name):
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = value("fundus_graded_total"), value("fundus_refused_total")
    post(client, eyes[0].read_bytes())
    post(client, b"no image")
    assert value("fundus_graded_total") == before[0] + 1
    assert value("fundus_refused_total") == before[1] + 1
    assert value('fundus_requests_total{path="/v1/grade",status="422"}') >= 1
    assert value("fundus_waiting") == value("fundus_held_bytes") == 0
    client.get("/v1/" + "x" * 50)
    assert value('fundus_requests_total{path="other",status="404"}') >= 1
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}


def test_what_is_wrong_is_said(client, eyes):
    eye = eyes[0].read_bytes()
    assert (
        "text/plain"
        in problem_of(
            client.post("/v1/grade", content=b"x", headers={"content-type": "text/plain"}), 415
        )["detail"]
    )
    problem_of(client.post("/v1/grade", content=eye), 415)
    problem_of(post(client, b""), 422)
    problem_of(client.post("/v1/grade", data={"file": "text"}, files={}), 415)
    problem_of(client.post("/v1/grade", files=files_of(eyes[:2])), 422)
    problem_of(client.post("/v1/grade/batch", files=files_of(eyes[:4])), 413)
    assert "0.143 MiB" in problem_of(post(client, bytes(150_001)), 413)["detail"]
    large = bombs.png_header(900, 900, 8, 2)
    assert "900 x 900" in problem_of(post(client, large), 413)["detail"]
    problem_of(post(client, eye, params={"quality": "maybe"}), 422)
    problem_of(client.get("/nothing"), 404)
    problem_of(client.get("/v1/grade"), 405)
    for boundary in ("b", "", '"', "b" * 300):
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        response = client.post("/v1/grade", content=b"--b\r\nno form", headers=kind)
        assert response.status_code in (400, 415), response.text


def test_a_form_that_was_cut_off_is_no_photograph(client, eyes):
    request = client.build_request("POST", "/v1/grade", files=files_of(eyes[:1], "file"))
    body = request.read()
    kind = {"content-type": request.headers["content-type"]}
    cut = client.post("/v1/grade", content=body[: len(body) // 2], headers=kind)
    assert "cut off" in problem_of(cut, 400)["title"]
    assert client.post("/v1/grade", content=body, headers=kind).status_code == 200
    header = body.replace(b"filename", b"x" * 9000 + b"; filename")
    problem_of(client.post("/v1/grade", content=header, headers=kind), 400)


def test_300_megabytes_are_refused_with_an_answer(client, address):
    def pieces():
        for _ in range(300):
            yield bytes(2**20)

    told = problem_of(client.post("/v1/grade", content=pieces(), headers=JPEG), 413)
    assert "may take" in told["detail"]
    with connected(address) as plain:  # as curl does: nothing is sent before it is asked for
        plain.sendall(
            b"POST /v1/grade HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 300000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert plain.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert client.get("/health").status_code == 200


def test_a_slow_upload_and_a_silent_connection_end(client, address):
    with connected(address) as silent, connected(address) as slow:
        slow.sendall(
            b"POST /v1/grade HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 5000\r\nConnection: close\r\n\r\nbegin"
        )
        silent.sendall(b"GET / HT")
        assert silent.recv(4096) == b""
        answer = answer_of(slow)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"within 3 s" in answer
    until(lambda: "fundus_held_bytes 0.0" in client.get("/metrics").text)


def test_a_client_that_leaves_is_forgotten(client, address):
    before = client.get("/metrics").text.count("fundus_left_total 0.0")
    with connected(address) as plain:
        plain.sendall(
            b"POST /v1/grade HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 5000\r\n\r\nbegin"
        )
    until(lambda: "fundus_left_total 0.0" not in client.get("/metrics").text)
    assert before == 1
    assert "fundus_held_bytes 0.0" in client.get("/metrics").text


def test_damaged_and_hostile_files_are_graded_or_refused(client):
    whole = images.samples()
    bodies = [images.mutated(number, 5, whole) for number in range(110)]
    bodies += [data for data in bombs.bombs().values() if len(data) < LIMITS.max_bytes]
    found = [post(client, data) for data in bodies]
    statuses = {response.status_code for response in found}
    assert statuses <= {200, 413, 422}
    assert {200, 422} <= statuses
    for response in found:
        if response.status_code != 200:
            problem_of(response, response.status_code)
    request = client.build_request("POST", "/v1/grade", files={"file": ("eye.png", whole[7])})
    form = request.read()
    for number in range(40):
        body = images.mutated(number, 6, [form])
        kind = {"content-type": request.headers["content-type"]}
        assert client.post("/v1/grade", content=body, headers=kind).status_code < 500
    assert client.get("/health").status_code == 200


def test_nothing_is_kept_on_disc(client, eyes, tmp_path, monkeypatch):
    import os

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def all_files():
        places = [tmp_path, Path(os.environ["FUNDUS_CACHE_DIR"])]
        return {path for place in places if place.exists() for path in place.rglob("*")}

    before = all_files()
    big = encode(np.random.default_rng(0).integers(0, 255, (190, 190, 3), dtype=np.uint8), "BMP")
    assert len(big) > 100_000
    # whatever asks for a temporary file is noticed, even if it is gone at once
    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, None)
    for data in (big, eyes[0].read_bytes()):
        assert post(client, data).status_code == 200
        assert post(client, data, "/v1/explain").status_code == 200
        sent = [("files", ("a", data)), ("files", ("b", data))]
        assert client.post("/v1/grade/batch", files=sent).status_code == 200
    assert all_files() == before


def test_headers_of_every_answer(client, eyes):
    for response in (
        client.get("/"), client.get("/page.js"), client.get("/none"), client.get("/v1/model"),
        post(client, b"bad"), client.get("/", headers={"host": "evil.example"}),
    ):  # fmt: skip
        for name, value in HEADERS.items():
            if name != "cache-control":
                assert response.headers[name] == value
        assert "server" not in response.headers
    assert client.get("/v1/model").headers["cache-control"] == "no-store"
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_the_page_asks_nobody_else(client):
    for path in ("/", "/page.css", "/page.js", "/ask.js", "/table.js", "/details.js"):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", ""), path
    page = client.get("/")
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert "Research software, not a medical device" in page.text
    again = client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_another_name_is_refused(client, host):
    """As where a site's name was made to lead to this machine."""
    problem_of(client.get("/v1/model", headers={"host": host}), 421)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "ours", "sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_other_sites_may_not_post(client, address, eyes, headers, status):
    if headers.get("origin") == "ours":
        headers = {**headers, "origin": address.rstrip("/")}
    response = client.post("/v1/grade", content=eyes[0].read_bytes(), headers={**JPEG, **headers})
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers


def asked(app, method, path, **options):
    """Ask an application without a server."""
    import asyncio

    async def ask():
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


def test_a_token_is_asked_for(served, eyes, monkeypatch):
    import hmac

    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    app, service = make_app(served, token="a token of this server")
    try:
        for headers in ({}, {"authorization": "Bearer a token"}, {"authorization": "Basic x"},
                        {"authorization": "a token of this server"}):  # fmt: skip
            for path in ("/v1/model", "/metrics"):
                problem_of(asked(app, "GET", path, headers=headers), 401)
        assert len(compared) == 8
        right = {"authorization": "Bearer a token of this server"}
        assert asked(app, "GET", "/v1/model", headers=right).status_code == 200
        eye = eyes[0].read_bytes()
        problem_of(asked(app, "POST", "/v1/grade", content=eye, headers=JPEG), 401)
        sent = asked(app, "POST", "/v1/grade", content=eye, headers={**JPEG, **right})
        assert sent.status_code == 200
        assert asked(app, "GET", "/").status_code == 200  # the page, which asks for it
        assert asked(app, "GET", "/health").status_code == 200
    finally:
        service.close()


class Slow:
    """A model that answers when it is told to."""

    name = "slow"

    def __init__(self, told: threading.Event) -> None:
        self.told, self.batches, self.error = told, [], None

    def grade(self, photographs):
        self.batches.append(len(photographs))
        self.told.wait(20)
        if self.error is not None:
            raise self.error
        return [{"file": one.upload.name} for one in photographs]

    def map(self, photograph):
        raise DivergedError("not finite")


def test_a_full_queue_says_when_to_come_again(eyes):
    told = threading.Event()
    slow = Slow(told)
    limits = ServingLimits(max_waiting=2, max_batch=2, answer_seconds=15)
    with running(slow, limits) as address, httpx.Client(base_url=address, timeout=20) as client:
        threads = [
            threading.Thread(target=lambda: results.append(post(client, eyes[0].read_bytes())))
            for _ in range(3)
        ]
        results: list[httpx.Response] = []
        threads[0].start()
        until(lambda: slow.batches)
        for thread in threads[1:]:
            thread.start()
        until(lambda: client.get("/health").json()["waiting"] == 2)
        refused = post(client, eyes[0].read_bytes())
        found = problem_of(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["retry-after"] in found["advice"]
        told.set()
        for thread in threads:
            thread.join()
        assert [response.status_code for response in results] == [200, 200, 200]
    assert slow.batches == [1, 2]  # what waited was graded together


def test_what_takes_too_long_and_what_breaks(eyes):
    told = threading.Event()
    slow = Slow(told)
    limits = ServingLimits(answer_seconds=1.0, max_held=len(eyes[0].read_bytes()) + 10)
    with running(slow, limits) as address, httpx.Client(base_url=address, timeout=20) as client:
        late = post(client, eyes[0].read_bytes())
        assert "within 1 s" in problem_of(late, 503)["detail"]
        assert "retry-after" in late.headers
        full = client.post("/v1/grade/batch", files=files_of(eyes[:2]))
        assert "may be held" in problem_of(full, 503)["detail"]
        told.set()
        assert post(client, eyes[0].read_bytes()).status_code == 200
        slow.error = DivergedError("weights")
        broken = problem_of(post(client, eyes[0].read_bytes()), 500)
        assert broken["detail"] == "It fails with DivergedError."
        slow.error = None
        assert post(client, eyes[0].read_bytes()).status_code == 200  # the thread goes on
        problem_of(post(client, eyes[0].read_bytes(), "/v1/explain"), 500)


def test_those_who_left_are_not_graded_and_the_rest_is_cancelled():
    told = threading.Event()
    seen = []

    def together(things):
        seen.extend(things)
        told.wait(10)
        return things

    batches = Batches(together, lambda thing: thing, max_batch=4, max_waiting=3)
    (first,) = batches.put([1])
    until(lambda: seen)
    gone, stays = batches.put([2, 3])
    alone = batches.put_alone(4)
    gone.cancel()
    (again,) = batches.put([5])  # in the place of the one that left
    with pytest.raises(Problem, match="wait for the model"):
        batches.put([6])
    told.set()
    assert [future.result(10) for future in (first, stays, again, alone)] == [1, 3, 5, 4]
    assert 2 not in seen
    told.clear()
    batches.put([7])
    until(lambda: 7 in seen)
    (left,) = batches.put([8])
    threading.Timer(0.1, told.set).start()
    batches.close()
    assert left.cancelled()


def test_an_image_error_of_the_model_has_the_files_name(served, eyes, monkeypatch):
    from fundus.serving.photographs import Checked
    from fundus.serving.uploads import Upload

    def broken(model, contents):
        if len(contents) > 1 or contents[0] == b"odd":
            raise ImageReadError("Row 0: Cannot read image 'row 0': expected this, found that; do.")
        return predict_members(model, contents)

    from fundus.serving import served as module

    predict_members = module.predict_members
    monkeypatch.setattr(module, "predict_members", broken)
    good = Checked(Upload("good", eyes[0].read_bytes()), 64, 64)
    odd = Checked(Upload("odd.jpg", b"odd"), 64, 64)
    found = served.grade([good, odd])
    assert found[0]["file"] == "good"
    assert isinstance(found[1], Problem)
    assert "'odd.jpg'" in found[1].detail


def test_an_address_that_is_in_use():
    with bound("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            AddressError, match=f"Port {port} of '127.0.0.1' cannot be used.*--port"
        ):
            bound("127.0.0.1", port)
    with pytest.raises(AddressError, match=r"asked as 'no\.such\.host\.invalid'"):
        bound("no.such.host.invalid", 0)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == "fastapi" else name)
    with pytest.raises(
        MissingDependencyError, match=r"needs fastapi.*pip install 'fundus-zoo\[serve\]'"
    ):
        extra.check_extra()


def test_frames_of_predictions_have_what_the_page_shows(client, eyes, served):
    """The table of `fundus predict` and an answer name the same things."""
    table = predict_images(served.model, [str(eyes[0])]).to_frame()
    found = client.post("/v1/grade", files=files_of(eyes[:1], "file")).json()
    kept = pd.Series({"grade": "grade", "severity": "severity", "referable": "referrals",
                      "grades_set": "set", "defer": "defer"})  # fmt: skip
    assert set(kept.index) <= set(table.columns)
    assert set(kept) <= set(found)
