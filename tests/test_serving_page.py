"""The page of `fundus serve` in a browser: by mouse, by keys, in both themes, at three widths."""

from __future__ import annotations

import csv
import io
import itertools
import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from browsing import launched
from serving_toys import running, toy

from fundus.reporting.predictions import predict_images

WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1280}
TOKEN = "a token of this server"


@pytest.fixture(scope="module")
def served(photographs):
    return toy(photographs)


@pytest.fixture(scope="module")
def address(served):
    with running(served) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def eyes(photographs):
    return [str(path) for path in photographs.paths[:3]]


@contextmanager
def visited(browser, address, width=1280, **options):
    """The page; whatever it asks of others, or complains of, is an error."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page, errors, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.set_default_timeout(60_000)
    try:
        yield page
        known = ("the server responded with a status of 4",)  # what a test has asked for
        assert [text for text in errors if not any(part in text for part in known)] == []
        ours = (address.partition("#")[0], "blob:", "data:")
        assert [url[:80] for url in asked if not url.startswith(ours)] == []
    finally:
        context.close()


def graded(page, files):
    page.locator("#files").set_input_files(files)
    page.locator("#status").filter(has_text="graded").wait_for()
    page.locator(".stage .over").wait_for()


def names(page):
    return page.locator("tbody .name").all_text_contents()


@pytest.mark.slow
def test_photographs_are_graded_sorted_and_downloaded(browser, address, eyes, served, tmp_path):
    bad = tmp_path / "=notes.jpg"
    bad.write_bytes(b"no image")
    with visited(browser, address) as page:
        page.locator("#model").filter(has_text="toy <b>run</b> · 5 grades · 3 folds").wait_for()
        assert page.get_by_text("Research software, not a medical device.").first.is_visible()
        graded(page, [*eyes, str(bad)])
        assert page.locator("#status").text_content() == "3 graded, 1 not graded."
        told = page.locator("#problem-list li").text_content()
        assert "=notes.jpg: The photograph cannot be read" in told
        assert "expected a JPEG" in told
        wanted = served.model.predict_severity(eyes)
        severities = [
            float(text) for text in page.locator("tbody td:nth-child(3)").all_inner_texts()
        ]
        assert severities == pytest.approx(wanted.tolist(), abs=0.006)
        assert names(page) == [Path(eye).name for eye in eyes]
        order = sorted(range(3), key=lambda row: wanted[row])
        button = page.get_by_role("button", name="Severity")
        for direction, rows in (("ascending", order), ("descending", order[::-1])):
            button.click()
            assert names(page) == [Path(eyes[row]).name for row in rows]
            assert page.locator("th[aria-sort]").get_attribute("aria-sort") == direction
        with page.expect_download() as started:
            page.get_by_role("button", name="Download CSV").click()
        text = Path(started.value.path()).read_text(encoding="utf-8-sig")
        assert ";" not in re.sub('"[^"]*"', "", text)  # at which some spreadsheets part cells
        rows = [*csv.DictReader(io.StringIO(text))]
        assert [row["file"] for row in rows] == names(page)
        for row, place in zip(rows, order[::-1], strict=True):
            assert float(row["severity"]) == pytest.approx(wanted[place], abs=1e-5)
            shares = [float(row[f"probability_{k}"]) for k in range(5)]
            assert sum(shares) == pytest.approx(1)
            assert row["referred"] == str(bool(wanted[place] >= 1.5)).lower()
            assert (row["threshold"], row["referred_for"]) == ("1.5", "referable, sensitivity 0.90")
            assert row["notice"] == "Research software, not a medical device."
        page.get_by_role("button", name="Clear").click()
        assert not page.locator("#results").is_visible()


@pytest.mark.slow
def test_details_follow_the_photograph_the_point_and_the_slider(browser, address, eyes, served):
    with visited(browser, address) as page:
        graded(page, eyes[:2])
        page.locator("tbody tr").nth(1).click()
        page.locator("#details-title").filter(has_text=Path(eyes[1]).name).wait_for()
        page.locator(".stage .over").wait_for()
        severity = served.model.predict_severity([eyes[1]])[0]
        assert page.locator(".axis .value").text_content() == f"{severity:.2f}"
        assert page.locator(".axis .fold").count() == 3
        assert page.locator(".axis .band").count() >= 2
        assert page.locator(".bars li").count() == 5
        shares = page.locator(".bars .percent").all_text_contents()
        assert sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=2)
        width = page.locator(".bars .fill").evaluate_all("all => all.map(one => one.style.width)")
        proba = served.model.predict_proba([eyes[1]])[0]
        assert [float(one[:-1]) / 100 for one in width] == pytest.approx(proba.tolist(), abs=1e-4)
        assert "set of grades" in page.locator("#details .head").text_content()
        assert "of 3 folds say this grade" in page.locator("#details .head").text_content()
        slider = page.get_by_label("Map", exact=True)
        slider.focus()
        page.keyboard.press("Home")
        assert page.locator(".over").evaluate("one => getComputedStyle(one).opacity") == "0"
        page.keyboard.press("End")
        assert page.locator(".over").evaluate("one => getComputedStyle(one).opacity") == "1"
        assert page.locator("output").text_content() == "100 %"
        sides = page.locator(".stage img").evaluate_all(
            "all => all.map(one => [one.naturalWidth, one.naturalHeight, one.offsetWidth])"
        )
        assert sides[0] == sides[1]
        page.locator("#point").select_option(index=1)
        assert page.locator(".axis .point-name").text_content() == "refer from 2.25"
        chips = page.locator("tbody td:nth-child(4) .chip")
        both = predict_images(served.model, eyes[:2])
        doubts = [
            ": undecided" if low != high else "" for low, high in zip(*both.sets, strict=True)
        ]
        assert chips.all_text_contents() == [
            "refer" if one >= 2.25 else f"no{doubt}"
            for one, doubt in zip(both.severity, doubts, strict=True)
        ]
        for chip in chips.all():  # what is in doubt does not look reassuring
            shown = chip.get_attribute("class")
            assert ("not" in shown.split()) == (chip.text_content() == "no")
        assert page.evaluate("document.activeElement.id") != "details"


@pytest.mark.slow
def test_clear_ends_what_is_under_way(browser, address, eyes):
    with visited(browser, address) as page:
        graded(page, eyes[:1])
        held = []
        page.route("**/v1/grade", lambda route: held.append(route))
        page.locator("#files").set_input_files(eyes[1:3])
        page.wait_for_timeout(100)
        while len(held) < 2:
            page.wait_for_timeout(50)
        page.get_by_role("button", name="Clear").click()
        page.unroute("**/v1/grade")
        graded(page, eyes[2:3])
        assert names(page) == [Path(eyes[2]).name]
        assert page.locator("#status").text_content() == "1 graded."
        assert not page.locator("#problems").is_visible()


@pytest.mark.slow
def test_what_is_no_file_is_told_as_such(browser, address, eyes):
    """As a folder, which browsers let one drop."""
    with visited(browser, address, width=390) as page:
        page.evaluate("() => { File.prototype.slice = () => { throw new Error('a folder'); }; }")
        page.locator("#files").set_input_files(eyes[:1])
        told = page.locator("#problem-list li")
        told.wait_for()
        assert "The file cannot be read" in told.text_content()
        assert "folder" in told.text_content()


@pytest.mark.slow
def test_axe_finds_nothing(browser, address, eyes, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    bad = tmp_path / "notes.jpg"
    bad.write_bytes(b"no image")
    with visited(browser, address) as page:
        graded(page, [eyes[0], str(bad)])
        for width, scheme in itertools.product(WIDTHS.values(), ("light", "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page)
            assert found.violations_count == 0, (width, scheme, found.generate_report())
            assert len(found.response["passes"]) > 20
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            over = "document.querySelector('.scroll').scrollWidth - "
            over += "document.querySelector('.scroll').clientWidth"
            assert page.evaluate(over) <= 0, width  # nothing of the table is cut off
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
            page.evaluate("window.scrollTo(0, 0)")
            shown = page.locator(".notice").bounding_box()
            page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
            assert page.locator(".notice").bounding_box()["y"] == shown["y"]  # it stays in view


@pytest.mark.slow
def test_keys_alone_do_everything(browser, address, eyes):
    with visited(browser, address) as page:
        graded(page, eyes)
        page.keyboard.press("Control+Home")
        page.evaluate("document.activeElement.blur()")
        reached = []
        for _ in range(16):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    "document.activeElement.id || document.activeElement.textContent.trim()"
                )
            )
            if reached[-1] == "Severity":
                page.keyboard.press("Enter")
        assert {"files", "point", "download", "clear", "Severity"} <= set(reached)
        assert page.locator("th[aria-sort]").text_content().startswith("Severity")
        page.locator("tbody button").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        chosen = page.locator("tbody button[aria-pressed=true] .name").text_content()
        assert chosen == names(page)[1]
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
        assert chosen in page.locator("#details-title").text_content()


@pytest.mark.slow
def test_files_that_are_too_large_are_not_sent(browser, address, tmp_path):
    large = tmp_path / "large.tif"
    large.write_bytes(bytes(200_000))
    with visited(browser, address) as page:
        sent = []
        page.on("request", lambda request: sent.append(request.method))
        page.locator("#files").set_input_files(str(large))
        page.locator("#problem-list li").wait_for()
        assert "may be sent" in page.locator("#problem-list").text_content()
        assert "POST" not in sent


@pytest.mark.slow
def test_a_token_is_typed_or_in_the_link(browser, served, eyes):
    with running(served, token=TOKEN) as address:
        with visited(browser, address) as page:
            field = page.get_by_label("This server asks for its token")
            field.fill("another")
            page.get_by_role("button", name="Go on").click()
            page.locator("#token-told").filter(has_text="not the token").wait_for()
            field.fill(TOKEN)
            page.keyboard.press("Enter")
            page.locator("#model").filter(has_text="5 grades").wait_for()
            assert not field.is_visible()
        link = f"{address}#token={TOKEN.replace(' ', '%20')}"
        with visited(browser, link) as page:
            graded(page, eyes[:1])
            assert page.url == address
