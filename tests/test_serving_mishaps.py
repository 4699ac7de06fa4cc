"""`fundus serve` where something goes wrong at one photograph, and where photographs are DICOM."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from dicom_samples import SECRET, jpeg, native, packed, photograph
from image_samples import encode, scene
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage
from serving_toys import LIMITS, running, toy, until

from fundus.exceptions import ImageReadError
from fundus.images import decode_bytes, decoding
from fundus.images.limits import ImageLimits
from fundus.reporting.predictions import predict_images
from fundus.serving import batches as batches_module
from fundus.serving import guard as guard_module
from fundus.serving import served as served_module
from fundus.serving import service as service_module
from fundus.serving.answers import LOWEST
from fundus.serving.batches import Batches
from fundus.serving.guard import Guard
from fundus.serving.limits import ServingLimits
from fundus.serving.photographs import Checked, check, warnings_of
from fundus.serving.problems import Problem, unreadable
from fundus.serving.uploads import Upload

DICOM = {"content-type": "application/dicom"}


@pytest.fixture(scope="module")
def served(photographs):
    return toy(photographs)


@pytest.fixture(scope="module")
def client(served):
    with running(served) as address, httpx.Client(base_url=address, timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def eye(photographs):
    return Path(photographs.paths[0]).read_bytes()


def form(*files):
    return [("files", file) for file in files]


def test_a_mistake_at_one_photograph_touches_no_other(served, eye, monkeypatch, caplog):
    real = served_module.predict_members

    def broken(model, contents):
        if b"odd" in contents:
            raise KeyError(SECRET)
        return real(model, contents)

    monkeypatch.setattr(served_module, "predict_members", broken)
    good, odd = (Checked(Upload(name, data), 64, 64) for name, data in (("a", eye), ("z", b"odd")))
    first, second, third = served.grade([good, odd, good])
    assert first["grade"] == third["grade"]
    assert isinstance(second, Problem)
    assert (second.status, second.file) == (500, "z")
    assert "KeyError" in second.detail
    assert SECRET not in second.detail + second.advice
    (logged,) = caplog.records
    assert logged.getMessage() == "A photograph could not be graded"
    assert "KeyError" in caplog.text
    monkeypatch.setattr(served_module, "map_of", lambda model, data: 1 / 0)
    assert served.map(good).status == 500
    monkeypatch.setattr(served_module, "map_of", lambda model, data: bytearray(2**62))
    assert served.map(good).status == 507


def test_a_batch_that_fails_is_done_one_by_one():
    def together(things):
        if 2 in things:
            raise ValueError("two")
        return things

    batches = Batches(together, None, max_batch=8, max_waiting=8)
    first, second, third = batches.put([1, 2, 3])
    assert (first.result(5), third.result(5)) == (1, 3)
    with pytest.raises(ValueError, match="two"):
        second.result(5)
    batches.close()


def test_a_mistake_of_the_check_is_of_its_own_file(client, eye, monkeypatch):
    def broken(upload, *args, **options):
        if upload.name == "odd":
            raise IndexError(SECRET)
        if upload.name == "huge":
            raise MemoryError
        return check(upload, *args, **options)

    monkeypatch.setattr(service_module, "check", broken)
    response = client.post("/v1/grade/batch", files=form(("odd", eye), ("eye", eye), ("huge", eye)))
    odd, good, huge = response.json()["results"]
    assert (odd["status"], odd["file"]) == (500, "odd")
    assert (huge["status"], huge["file"]) == (507, "huge")
    assert "grade" in good
    assert SECRET not in response.text


def test_the_time_of_the_check_counts_and_so_does_its_place(eye, monkeypatch):
    told, begun = threading.Event(), threading.Event()

    def slow(upload, *args, **options):
        begun.set()
        told.wait(20)
        return check(upload, *args, **options)

    monkeypatch.setattr(service_module, "check", slow)
    model = SimpleNamespace(name="none", grade=lambda them: [{}] * len(them), map=None)
    jpeg_kind = {"content-type": "image/jpeg"}
    limits = ServingLimits(answer_seconds=1.5, max_waiting=1)
    with running(model, limits) as address, httpx.Client(base_url=address, timeout=20) as client:
        late = []
        waiting = threading.Thread(
            target=lambda: late.append(client.post("/v1/explain", content=eye, headers=jpeg_kind))
        )
        waiting.start()
        until(begun.is_set)
        refused = client.post("/v1/grade", content=eye, headers=jpeg_kind)
        assert refused.status_code == 503
        assert "1 photographs wait for the model already, of 1" in refused.json()["detail"]
        waiting.join()
        assert late[0].status_code == 503
        assert "within 1.5 s" in late[0].json()["detail"]
        told.set()
        assert client.post("/v1/grade", content=eye, headers=jpeg_kind).status_code == 200


@pytest.mark.parametrize(
    ("cutpoints", "wanted"),
    [
        ([-np.inf, 0.5, np.inf], [LOWEST, 0.5, None]),
        (None, [LOWEST, None, 2.0]),  # of the grades 1 and 3
    ],
)
def test_cutpoints_without_an_end(served, monkeypatch, cutpoints, wanted):
    cut = SimpleNamespace(cutpoints=None if cutpoints is None else np.array(cutpoints))
    inner = SimpleNamespace(
        average=lambda members: cut, rounds_severity=True, classes_=np.array([1, 3]),
        grades_=np.arange(4),
    )  # fmt: skip
    monkeypatch.setattr(served_module, "averaged", lambda model: inner)
    assert served._cutpoints([None]) == wanted


def test_a_dicom_file_is_graded_as_predict_grades_it(client, served, tmp_path):
    data = native(photograph())
    path = tmp_path / "eye.dcm"
    path.write_bytes(data)
    wanted = predict_images(served.model, [str(path)])
    raw = client.post("/v1/grade", content=data, headers=DICOM, params={"name": "eye.dcm"})
    sent = client.post("/v1/grade", files={"file": ("eye.dcm", data, "application/dicom")})
    assert raw.json() == sent.json()
    assert raw.json()["grade"] == wanted.grades[0]
    assert raw.json()["severity"] == pytest.approx(wanted.severity[0], abs=1e-5)
    assert (raw.json()["height"], raw.json()["width"]) == photograph().shape[:2]
    assert SECRET not in raw.text
    assert ".dcm,.dicom,application/dicom" in client.get("/").text
    assert "DICOM" in client.get("/page.js").text


def test_a_damaged_dicom_file_tells_nothing_of_its_header(client):
    pixels = photograph()
    whole = packed([jpeg(pixels)], pixels, JPEGBaseline8Bit)
    rng = np.random.default_rng(0)
    statuses = set()
    for end in (300, 900, len(whole) - 200):
        damaged = [whole[:end], bytearray(whole)]
        damaged[1][end : end + 9] = rng.bytes(9)
        for data in map(bytes, damaged):
            response = client.post("/v1/grade", content=data, headers=DICOM)
            statuses.add(response.status_code)
            assert SECRET not in response.text
    assert 422 in statuses <= {200, 422}


def test_doubts_are_told_at_the_page_and_not_at_the_terminal(recwarn):
    data = native(photograph(), SOPClassUID=SecondaryCaptureImageStorage)
    for quality in (True, False):
        found = check(Upload(f"{SECRET}.dcm", data), ImageLimits(), quality=quality)
        issues = {one["issue"]: one["text"] for one in warnings_of(found, 32)}
        assert "a secondary capture" in issues["no_photograph"]
        assert SECRET not in issues["no_photograph"]
    assert not recwarn.list


def test_pixels_that_lead_out_of_the_file(monkeypatch):
    monkeypatch.setattr(decoding, "rgb_of", lambda *_: [][1])
    with pytest.raises(ImageReadError, match=r"'eye\.dcm'.*packed pixels that cannot be followed"):
        decode_bytes(native(photograph()), name="eye.dcm")


def test_what_is_to_be_installed_is_a_matter_of_the_server():
    error = ImageReadError("Cannot read image 'a.dcm': expected pydicom; pip install 'x[dicom]'.")
    advice = unreadable(error, "a.dcm").advice
    assert advice == "Whoever runs the server can install what reads it: pip install 'x[dicom]'."


def test_a_picture_is_as_wide_as_it_is_shown():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(scene(), "JPEG", exif=exif)
    plain = encode(scene(), "JPEG")
    for quality in (True, False):
        sides = [
            (found.height, found.width)
            for found in (check(Upload("", it), ImageLimits(), quality=quality)
                          for it in (plain, turned))
        ]  # fmt: skip
        assert sides == [(64, 96), (96, 64)]


def test_a_part_with_the_long_form_of_a_name_is_a_file(client, eye):
    head = (
        b"--b\r\nContent-Disposition: form-data; name=file; filename*=UTF-8''%C3%A9ye.png\r\n\r\n"
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    response = client.post("/v1/grade", content=head + eye + b"\r\n--b--\r\n", headers=kind)
    assert response.json()["file"] == "éye.png"


def test_the_open_description_does_not_name_the_model(client, served):
    described = client.get("/openapi.json")
    assert served.name not in described.json()["info"]["description"]
    assert "toy" not in described.text
    post = described.json()["paths"]["/v1/grade"]["post"]
    assert "application/dicom" in post["requestBody"]["content"]
    assert "507" in post["responses"]
    assert LIMITS.max_files == client.get("/v1/model").json()["limits"]["max_files"]


def test_what_is_on_its_way_is_waited_for(monkeypatch):
    monkeypatch.setattr(batches_module, "LINGER", 5)
    lengths = []
    batches = Batches(
        lambda things: lengths.append(len(things)) or things, None, max_batch=8, max_waiting=8
    )
    batches.expect(1)
    first, second = batches.put([1]), batches.put([2])
    batches.expect(-1)
    assert [future.result(4) for future in (*first, *second)] == [1, 2]
    assert batches.put([3])[0].result(4) == 3  # nothing is on its way
    batches.close()
    assert lengths == [2, 1]


def test_who_leaves_before_a_check_begins_leaves_no_upload_behind(served, eye, monkeypatch):
    """Uploads that wait for a thread wait where they are forgotten with their client."""
    began, told = [], threading.Event()

    def slow(upload, *_, **__):
        began.append(upload.name)
        told.wait(30)
        raise Problem(422, "t", "d", "a")

    monkeypatch.setattr(service_module, "check", slow)
    service = service_module.Service(served, LIMITS)

    async def leave():
        tasks = [
            asyncio.ensure_future(service._checked(Upload(f"{k}.jpg", eye), False))
            for k in range(20)
        ]
        while len(began) < service._pool._max_workers:
            await asyncio.sleep(0.01)
        waiting = service._pool._work_queue.qsize()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        told.set()
        return waiting

    assert asyncio.run(leave()) == 0
    service.close()
    assert len(began) == service._pool._max_workers


def test_an_answer_that_nobody_reads_ends(monkeypatch):
    monkeypatch.setattr(guard_module, "_SENT_SECONDS", 0.05)
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"much"})

    async def stuck(message):
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.sleep(30)

    guarded = Guard(app, hosts=["here"])
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"here")]}
    before = time.monotonic()
    asyncio.run(guarded(scope, None, stuck))
    assert sent == ["http.response.start", "http.response.body"]
    assert time.monotonic() - before < 10
