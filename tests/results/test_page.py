"""The page: one file that needs nothing, says the same to every reader, and lets nobody's text run."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.report import build
from results.report.page import document, html, page_of, parts
from results.report.page.dark import PAPER, on_dark
from tests.browser import chromium, shown
from tests.results.synthetic import finished
from tests.results.synthetic_papers import Tampered, distilled

slow = pytest.mark.slow
EVIL = "</script><script>hacked=1</script><img src=x onerror='hacked=1'><a href=https://evil.example>x</a>\u2028{{7*7}}"


class Hostile(Tampered):
    """Whatever a user can name is an attack."""

    def _document(self, arms):
        known = super()._document({EVIL: {"set": {}}, "baseline": {"set": {self.path: 1.0}}})
        space = {**known["space"], "model": {"choice": [EVIL, "mlp"]}, "augment.<b>": {"uniform": [0, 1]}}
        return known | {"name": EVIL, "space": space, "search": {**known["search"], "sampler": f"tpe{EVIL}"}}

    def _suggest(self, arm):
        return super()._suggest(arm) | {"model": self.random.choice([EVIL, "mlp"]), "augment.<b>": random.random()}

    def _recipe(self, arm, params):
        return super()._recipe(arm, params) | {"model": params["model"], "augment": {"<b>": params["augment.<b>"]}}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return page_of(build(finished(tmp_path_factory.mktemp("done"))))


class Outline(HTMLParser):
    """What a document consists of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.ids = Counter(), Counter(), []
        self.headings, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []


def contrast(one, other):
    """WCAG 2.2, written again."""

    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def color(channels):
    return "#{:02x}{:02x}{:02x}".format(*channels)


@given(st.tuples(*[st.integers(0, 255)] * 3).map(color))
def test_a_colour_stands_out_from_dark_paper_as_much_as_from_white(light):
    wanted = contrast(light, "#ffffff")
    assert contrast(on_dark(light), PAPER) == pytest.approx(min(wanted, 14.8), rel=0.06)


@pytest.mark.parametrize(("light", "strongest"), [("#2563a8", 2), ("#a8540e", 0), ("#0f7a5c", 1)])
def test_a_colour_keeps_its_hue_on_the_dark_page(light, strongest):
    changed = on_dark(light)
    channels = [int(changed[i : i + 2], 16) for i in (1, 3, 5)]
    assert channels.index(max(channels)) == strongest


def test_what_a_colour_lets_through_it_lets_through_on_the_dark_page():
    assert on_dark("rgba(17, 17, 17, 0.07)") == "rgba({}, {}, {}, 0.07)".format(*bytes.fromhex(on_dark("#111111")[1:]))
    assert on_dark("#fff") == on_dark("white") == PAPER


@pytest.mark.parametrize("live", [False, True])
def test_only_the_scripts_of_the_page_are_allowed_to_run(done, live):
    text = document(done, live=live)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    assert len(scripts) == 2 + live
    digests = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    assert set(re.findall(r"'sha256-([^']*)'", policy)) == digests
    assert "default-src 'none'" in policy
    assert "script-src 'sha256" in policy
    assert "unsafe" not in re.search(r"script-src[^;]*", policy)[0]


def test_the_page_has_one_title_headings_in_order_and_a_way_to_every_section(done):
    outline = Outline(re.sub(r"<script.*?</script>", "", document(done), flags=re.S))
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.links) == {f"#{section.key}" for section in done.sections}
    assert all(outline.tags[landmark] == 1 for landmark in ("header", "nav", "main", "footer"))


def test_figures_say_in_words_what_they_show_and_tables_what_their_cells_mean(done):
    text = document(done)
    for key in done.figures:
        place = re.search(rf'<div class="plot" id="plot-{key}" role="img" aria-label="([^"]*)">', text)
        assert len(place[1]) > 40
    tables = re.findall(r"<table>.*?</table>", text, flags=re.S)
    assert len(tables) > 5
    for table in tables:
        assert "<caption" in table
        assert len(re.findall('<th scope="col"', table)) + len(re.findall('<th scope="row"', table)) == table.count(
            "<th "
        )


def test_a_live_page_asks_for_the_same_parts_as_a_page_begins_with(done):
    text, sent = document(done, live=True), json.loads(parts(done))
    for part in (sent["head"], sent["contents"], sent["foot"], *(section["html"] for section in sent["sections"])):
        assert part in text
    assert sent["drawings"]["figures"].keys() == done.figures.keys()
    assert json.loads(re.search(r'id="figures">(.*?)</script>', text)[1]) == sent["drawings"]


def test_hostile_names_stay_text(done, tmp_path):
    page = page_of(build(study_of("hostile", tmp_path), command=f"thermotune --root {EVIL}"))
    text = document(page)
    outline, honest = Outline(text), Outline(document(done))
    assert EVIL not in text
    assert "\u2028" not in re.search(r'id="figures">(.*?)</script>', text)[1]
    assert "hacked=1" in text
    assert outline.tags["script"] == honest.tags["script"]
    assert not outline.tags["img"]
    assert set(outline.attributes) <= set(honest.attributes) | {"max", "value", "for"}
    assert set(outline.links) == {f"#{section.key}" for section in page.sections}
    assert len(outline.ids) == len(set(outline.ids))


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def study_of(kind, root):
    if kind == "distilled":
        return distilled(root, trials=12)
    if kind == "beta":
        return finished(root, trials=16)
    study = Hostile(root, name="evil", trials=16)
    study.begin()
    study.explore()
    study.confirm()
    study.end(reason=EVIL)
    return study.folder


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    made = {}

    def give(kind):
        if kind not in made:
            root = tmp_path_factory.mktemp(kind)
            made[kind] = root / "report.html"
            made[kind].write_text(html(build(study_of(kind, root))), encoding="utf-8")
        return made[kind].as_uri()

    return give


@slow
@pytest.mark.parametrize("kind", ["beta", "distilled", "hostile"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_figure_is_drawn_without_a_complaint_and_fits_the_window(browser, file_of, kind, width):
    with shown(browser, file_of(kind), width=width) as found:
        found.wait_until_drawn()
        sizes = found.sizes_of_figures()
        assert len(sizes) >= 6
        assert all(0.5 * width < w < width and h > 150 for w, h in sizes.values()), sizes
        assert found.overflow <= 0
        assert found.page.locator("nav a").first.is_visible() == (width > 1020)
        assert found.page.locator("text=WebGL is not supported").count() == 0
        assert found.complaints == []


@slow
def test_hostile_names_are_inert_in_a_browser(browser, file_of):
    with shown(browser, file_of("hostile")) as found:
        page = found.page
        found.wait_until_drawn()
        for place in page.locator(".plot").all():
            place.scroll_into_view_if_needed()
            box = place.bounding_box()
            for across in range(5, 100, 15):  # hover texts are HTML to plotly
                page.mouse.move(box["x"] + box["width"] * across / 100, box["y"] + box["height"] * 0.4)
        assert page.evaluate("typeof hacked") == "undefined"
        assert page.locator("svg a, main a, img").count() == 0
        assert found.complaints == []


@slow
def test_markup_that_slipped_in_could_not_run(browser, file_of):
    with shown(browser, file_of("beta")) as found:
        page = found.page
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"hacked = 1\">')")
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))")
        page.wait_for_timeout(200)
        assert page.evaluate("typeof hacked") == "undefined"
        assert any("Content Security Policy" in complaint for complaint in found.complaints)


_LEGIBLE = """() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b]
        .map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        const color = numbers(getComputedStyle(element).backgroundColor);
        return color[3] === 0 ? behind(element.parentElement) : color;
    };
    const worst = {};
    for (const element of document.querySelectorAll("body *:not(script):not(svg *)")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility()) continue;
        const [text, paper] = [getComputedStyle(element).color, behind(element)].map((c) =>
            luminance(typeof c === "string" ? numbers(c) : c));
        const ratio = (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
        const name = element.tagName + "." + element.className;
        worst[name] = Math.min(worst[name] ?? 99, ratio);
    }
    return worst;
}"""


@slow
def test_text_is_legible_when_the_reader_turns_the_lights_off_and_before(browser, file_of):
    with shown(browser, file_of("beta"), color_scheme="light") as found:
        for scheme, card in (("light", "#ffffff"), ("dark", PAPER)):
            found.page.emulate_media(color_scheme=scheme)
            found.page.wait_for_timeout(100)
            found.wait_until_drawn()
            ratios = found.page.evaluate(_LEGIBLE)
            assert len(ratios) > 15
            assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
            ink = found.page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill")
            paper = found.page.evaluate("getComputedStyle(document.querySelector('.main-svg')).background")
            channels = [color([int(c) for c in re.findall(r"\d+", text)[:3]]) for text in (ink, paper)]
            assert contrast(*channels) > 10
            assert channels[1] == card


@slow
def test_on_paper_figures_are_light_and_fit_and_nothing_is_cut(browser, file_of, tmp_path):
    with shown(browser, file_of("beta"), color_scheme="dark") as found:
        found.wait_until_drawn()
        on_screen = found.sizes_of_figures()
        found.page.evaluate(
            """addEventListener("beforeprint", () => {
                printed = [...document.querySelectorAll(".plot svg.main-svg:first-child")].map((drawn) =>
                    [drawn.getBoundingClientRect().width, getComputedStyle(drawn).background]);
            })"""
        )
        found.page.pdf(path=tmp_path / "page.pdf", format="A4", prefer_css_page_size=False)
        assert len(re.findall(rb"/Type /Page\b", (tmp_path / "page.pdf").read_bytes())) >= 4
        printed = found.page.evaluate("printed")
        assert len(printed) == len(on_screen)
        assert all(width == 660 and "rgb(255, 255, 255)" in paper for width, paper in printed)
        found.wait_for("[...document.querySelectorAll('.plot .main-svg')].every((drawn) => drawn.clientWidth > 700)")
        assert found.sizes_of_figures() == on_screen
        found.page.set_viewport_size({"width": 688, "height": 1017})  # what the margins leave of A4
        found.page.emulate_media(media="print")
        assert found.page.evaluate(
            "[...document.querySelectorAll('.scroll, pre')].every((box) => box.scrollWidth <= box.clientWidth + 1)"
        )
        assert not found.page.locator("button:visible, nav:visible").count()


@slow
def test_commands_are_copied_from_a_file_without_any_permission(browser, file_of):
    with shown(browser, file_of("beta")) as found:
        page = found.page
        for button in page.locator(".copy").all():
            button.click()
            wanted = button.locator("xpath=../pre").text_content()
            page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'pasted'}))")
            page.locator("#pasted").focus()
            page.keyboard.press("Control+V")
            assert page.locator("#pasted").input_value() == wanted
            assert page.locator("#said").text_content() == "Copied."
            page.evaluate("document.getElementById('pasted').remove()")


@slow
def test_the_keyboard_reaches_everything_and_gets_out_again(browser, file_of):
    with shown(browser, file_of("beta")) as found:
        page = found.page
        found.wait_until_drawn()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "verdict"
        reached = []
        for _ in range(200):
            page.keyboard.press("Tab")
            name = page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className")
            if name.startswith("BODY"):
                break
            reached.append(name)
        assert name.startswith("BODY")  # the end of the page: no figure keeps the focus
        assert {"PRE.", "BUTTON.copy", "DIV.scroll"} <= set(reached)
        page.locator("button.copy").first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
