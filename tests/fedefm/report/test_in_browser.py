"""Reports as Chromium shows them: quiet, drawn, readable by ear, in dark and on a telephone."""

import io
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedefm.report.compare import write_comparison
from fedefm.report.run_report import write_report
from tests.fedefm.report.chromium import CHROMIUM, Browser, Page, chromium

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.xdist_group("browser"),  # one, for all
]
Maker = Callable[..., Any]
LARGEST = 5_000_000  # bytes
PAGES = ("whole", "in sums", "cut short", "many sites", "compared")

HEADINGS = "[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])"
PICTURES = """[...document.querySelectorAll('img,[role=img]')].map(
    e => e.getAttribute('alt') || e.getAttribute('aria-label') || '')"""
BOXES = """[...document.querySelectorAll('.plot svg, img')].map(e => {
    const r = e.getBoundingClientRect();
    return [r.left + scrollX, r.top + scrollY, r.width, r.height]})"""
BARE_HEADS = "document.querySelectorAll('th:not([scope])').length"
LANDMARKS = "['header', 'nav', 'main', 'footer'].map(t => document.querySelectorAll(t).length)"
LABELS = """[...document.querySelectorAll('.plot svg')].map(svg =>
    [...svg.querySelectorAll('text')].filter(e => e.textContent.trim()).map(e => {
    const r = e.getBoundingClientRect();
    return [e.textContent.trim(), r.left, r.top, r.right, r.bottom]}))"""
OUTSIDE = """[...document.querySelectorAll('.tiles div, .findings div')].filter(e =>
    e.getBoundingClientRect().right > document.documentElement.clientWidth - 1).length"""
WIDTH = "document.documentElement.scrollWidth"
WORDS = """[...document.querySelectorAll('h1,h2,h3,p,li,td,th,figcaption,caption,a,code,svg text')]
    .filter(e => e.checkVisibility() && e.textContent.trim()).map(e => {
    const colors = [getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color']];
    for (let p = e; p; p = p.parentElement) {
        const ground = getComputedStyle(p).backgroundColor;
        if (!/, 0\\)$/.test(ground)) { colors.push(ground); break; } }
    return [...colors, e.textContent.trim().slice(0, 40)]})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def files(example_run: Maker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    whole = example_run(sites=4, rounds=6)
    whole.missing["Bern", 2] = ("late", "no answer within 120 s")
    whole.tell().add("segmentation_evaluated", name="tuned", dice={"catheter": 0.8})
    whole.write(folder / "whole")
    whole.write_overlays(folder / "whole")
    example_run(sites=4, rounds=6).tell().hide_single_numbers().write(folder / "in sums")
    cut = example_run(sites=3, rounds=6)
    cut.start()
    cut.write(folder / "cut short", result=False)
    example_run(sites=16, rounds=6).tell().write(folder / "many sites")
    found = {name: write_report(folder / name) for name in PAGES[:-1]}
    found["compared"] = folder / "compared.html"
    write_comparison(folder / "whole", folder / "in sums", found["compared"])
    return found


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, browser: Browser, files: dict[str, Path]) -> Page:
    opened = browser.page().look(1280).open(files[request.param])
    assert len(files[request.param].read_bytes()) < LARGEST
    return opened


def test_nothing_is_complained_of_and_nothing_is_asked_of_the_network(page: Page) -> None:
    asked = [url for url in page.requests if not url.startswith("data:image/png;base64,")]
    assert page.complaints == []
    assert len(asked) == 1
    assert asked[0].startswith("file:///")


def test_headings_are_in_order_and_landmarks_there(page: Page) -> None:
    levels = page.value(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.value(LANDMARKS) == [1, 1, 1, 1]
    assert page.value("document.documentElement.lang") == "en"
    assert page.value(BARE_HEADS) == 0


def test_every_picture_says_in_words_and_figures_what_it_shows(page: Page) -> None:
    said = page.value(PICTURES)
    assert all(len(text) > 20 for text in said)
    assert all(re.search(r"\d| with ", text) for text in said)  # a graph tells who with whom


def test_the_first_key_skips_to_the_results_and_focus_is_seen(page: Page) -> None:
    page.value("document.activeElement.blur(); scrollTo(0, 0)")
    page.press("Tab")
    target = page.value("document.activeElement.getAttribute('href')")
    assert target in ("#score", "#scores")
    assert page.value(f"document.querySelector('{target}') !== null")
    assert page.value("document.activeElement.getBoundingClientRect().left") >= 0
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_plot_is_empty(page: Page, scheme: str) -> None:
    picture = np.array(Image.open(io.BytesIO(page.look(1280, scheme).picture())).convert("L"))
    boxes = page.value(BOXES)
    assert boxes
    for left, top, width, height in boxes:
        plot = picture[int(top) : int(top + height), int(left) : int(left + width)].astype(int)
        ground = np.bincount(plot.ravel()).argmax()
        assert (abs(plot - ground) > 40).mean() > 0.002
    page.look(1280)


def test_no_two_labels_of_a_plot_lie_on_each_other(page: Page) -> None:
    figures = page.value(LABELS)
    pairs = [pair for labels in figures for pair in itertools.combinations(labels, 2)]
    assert pairs
    assert [(one[0], other[0]) for one, other in pairs if overlap(one, other)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_from_its_ground(page: Page, scheme: str) -> None:
    words = page.look(1280, scheme).value(WORDS)
    faint = [word for word in words if contrast(*word[:2]) < 4.5]
    page.look(1280)
    assert len(words) > 50
    assert faint == []


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    assert page.look(width).value(WIDTH) <= width
    page.look(1280)


def test_it_prints_with_dark_words_on_white_whatever_the_screen_prefers(page: Page) -> None:
    page.do(
        "Emulation.setEmulatedMedia",
        media="print",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )
    color, ground = page.value(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(color, ground) > 10
    assert ground == "rgb(255, 255, 255)"
    assert page.value(OUTSIDE) == 0  # the edge of the paper would cut their borders
    assert page.printed().startswith(b"%PDF")
    page.do("Emulation.setEmulatedMedia", media="screen")


def overlap(one: list[Any], other: list[Any]) -> bool:
    """Whether two boxes (name, left, top, right, bottom) share more than their margins."""
    _, left, top, right, bottom = one
    across = min(right, other[3]) - max(left, other[1])
    down = min(bottom, other[4]) - max(top, other[2])
    return bool(across > 1 and down > 4)  # boxes have room above and below the letters


def contrast(one: str, other: str) -> float:
    """Of two colors as the browser tells them (WCAG 2.2, contrast ratio)."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2) of ``rgb(...)`` or ``color(srgb ...)``."""
    numbers = [float(part) for part in re.findall(r"[\d.]+", color)][:3]
    shares = numbers if color.startswith("color(") else [number / 255 for number in numbers]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
