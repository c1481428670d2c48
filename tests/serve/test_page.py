"""The page at ``/``, in a browser."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

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
