"""The page at ``/``, in a browser."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

import rnnx
from tests.serve.conftest import Server

pytestmark = pytest.mark.serve


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    opened = browser.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(f"http://127.0.0.1:{server.port}/")
    opened.wait_for_selector("#models tr")
    yield opened
    assert said == []
    opened.close()


def test_it_shows_the_models(page: Any) -> None:
    expect(page.locator("#models tr")).to_have_count(5)
    assert "x: FP32 (rows, steps, 4)" in page.inner_text("#models")
    assert set(page.locator("#model option").all_inner_texts()) == {"gru", "seq", "ids"}
    expect(page.locator("#health")).to_have_text("ready")


@pytest.mark.parametrize("model", ["gru", "seq", "ids"])
def test_a_stream(page: Any, model: str) -> None:
    page.select_option("#model", model)
    page.fill("#rate", "500")
    page.click("#run")
    expect(page.locator("#output-now")).not_to_have_text("")
    page.wait_for_selector("#activity canvas")
    page.click("#run")
    assert page.inner_text("#run") == "Start"
    page.click("#run")  # goes on by its token
    expect(page.locator("#said")).to_have_text("The stream goes on.")


def test_another_model_is_not_stopped_by_the_end_of_the_last_stream(page: Any) -> None:
    for model in ("gru", "seq", "gru", "ids"):
        page.select_option("#model", model)
        page.click("#run")
        page.click("#run")
        page.click("#run")
        expect(page.locator("#output-now")).not_to_have_text("", timeout=20000)
        assert page.inner_text("#run") == "Stop"
    page.select_option("#model", "gru")  # a stream that runs ends with its model, and its numbers go
    assert page.inner_text("#run") == "Start" and page.inner_text("#output-now") == ""
    assert "Only as a whole, and so not here: dear, two" in page.inner_text("#whole")


def test_a_stream_that_ends_before_it_is_connected(page: Any) -> None:
    page.evaluate("() => { const run = document.getElementById('run'); run.click(); run.click(); }")
    assert page.inner_text("#run") == "Start"
    page.wait_for_timeout(300)  # for what the browser says in its console
    page.click("#run")
    expect(page.locator("#output-now")).not_to_have_text("")


def test_a_model_that_does_not_keep_up(page: Any) -> None:
    page.evaluate("""() => {
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) { setTimeout(() => send.call(this, text), 1500); };
    }""")
    page.select_option("#model", "gru")
    page.click("#run")
    expect(page.locator("#said")).to_have_text("The model does not keep up with 50 steps a second.", timeout=20000)


def test_names_are_no_markup(browser: Any, models: Path, tmp_path: Path, start: Callable[..., Server]) -> None:
    bad = "<img src=x onerror=document.title='owned'>\"'&\\u0022"
    chain = [rnnx.Input((None, 2), name=bad), rnnx.layers.GRU(3, name=bad + "2")]
    rnnx.Sequential(chain).save(tmp_path / "bad.safetensors")
    name = "<svg onload\\n\"'>{}"
    server = start(f"{name}={tmp_path / 'bad.safetensors'}")
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#models tr")
    assert page.inner_text("#models th") == name and bad in page.inner_text("#models")
    page.click("#run")
    expect(page.locator("#output-now")).not_to_have_text("")
    expect(page.locator("#models td").nth(5)).to_have_text("1", timeout=20000)  # of its metrics
    assert page.title() == "rnnx serve" and page.locator("#models img, #models svg").count() == 0
    page.close()


def test_the_keyboard_is_enough(page: Any) -> None:
    page.select_option("#model", "seq")
    page.focus("#input")
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    assert page.input_value("#signal") == "draw"
    page.focus("#run")
    page.keyboard.press("Enter")
    expect(page.locator("#input-now")).to_have_text("0.50")
    assert page.evaluate("[...document.querySelectorAll('input, select')].every((one) => one.labels.length)")


def test_a_wav_file(page: Any, tmp_path: Path) -> None:
    samples = (np.sin(np.arange(400)) * 20000).astype("<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", len(samples))
    (tmp_path / "a.wav").write_bytes(head + samples)
    (tmp_path / "b.wav").write_bytes(b"nothing of the kind")
    page.select_option("#model", "seq")
    page.select_option("#signal", "file")
    page.set_input_files("#file", tmp_path / "b.wav")
    expect(page.locator("#said")).to_have_text("not a WAV file")
    page.set_input_files("#file", tmp_path / "a.wav")
    expect(page.locator("#said")).to_have_text("400 samples")
    page.click("#run")
    expect(page.locator("#output-now")).not_to_have_text("")


def test_nothing_runs_over_the_side_of_a_phone(browser: Any, server: Server) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 640}, color_scheme="dark")
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#models tr")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
