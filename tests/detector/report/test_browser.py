"""The page in a real browser, inside a frame like MLflow's artifact view."""

import re
from dataclasses import replace

import pytest
from tests.browser import browser_page
from tests.detector.report.hostile import ATTACKS
from tests.detector.report.story import JUDGEMENT, LINKS, NEW, OLD, said_by

from backslide_detector.report.page import page

pytestmark = pytest.mark.browser

FRAME = """
async html => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.style = "width: 100%; height: 800px; border: 0";
  frame.src = URL.createObjectURL(new Blob([html], { type: "text/html" }));
  const loaded = new Promise(done => frame.addEventListener("load", done));
  document.body.replaceChildren(frame);
  await loaded;
}
"""


class Framed:
    """One page in a frame without an origin, and all that the browser said about it."""

    def __init__(self, browser, html):
        self.requests, self.complaints, self.dialogs = [], [], []
        browser.on("request", lambda request: self.requests.append(request.url))
        browser.on("console", lambda message: self.complaints.append(message.text))
        browser.on("pageerror", lambda error: self.complaints.append(str(error)))
        browser.on(
            "dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss())
        )
        browser.evaluate(FRAME, html)
        self.frame = browser.frames[1]
        browser.wait_for_timeout(200)

    @property
    def foreign(self):
        return [
            url for url in self.requests if not url.startswith(("blob:", "data:", "about:"))
        ]


@pytest.fixture(scope="module")
def chromium():
    with browser_page() as opened:
        yield opened.context.browser


@pytest.fixture
def opened(chromium):
    """Opens a page of its own: width and colour scheme as asked for."""
    contexts = []

    def open_page(width=900, scheme="light"):
        viewport = {"width": width, "height": 1000}
        contexts.append(chromium.new_context(viewport=viewport, color_scheme=scheme))
        return contexts[-1].new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(params=["light", "dark"])
def browser(opened, request):
    return opened(scheme=request.param)


def test_is_seen_whole_in_a_frame_without_an_origin(browser):
    shown = Framed(browser, page(JUDGEMENT, NEW, OLD, LINKS))
    assert shown.foreign == []
    assert shown.complaints == []  # among them: anything the policy refused
    frame = shown.frame
    assert frame.locator("h1").inner_text() == "digits-2"
    assert frame.get_by_text(JUDGEMENT.retrain.sentence).first.is_visible()
    for heading in ("What changed", "Findings", "Error by class", "Gradients, layer by layer"):
        assert frame.get_by_role("heading", name=heading, exact=True).is_visible()
    assert (
        frame.evaluate("getComputedStyle(document.querySelector('.banner')).borderLeftWidth")
        == "6px"
    )
    pictures = frame.locator("svg[role=img]").all()
    assert len(pictures) > 10
    visible = [picture.bounding_box() for picture in pictures if picture.is_visible()]
    assert all(box["width"] > 150 and box["height"] > 60 for box in visible)


def test_pictures_have_colours_of_the_scheme_and_cells(browser):
    frame = Framed(browser, page(JUDGEMENT, NEW, OLD, LINKS)).frame
    dark = browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = frame.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(16, 21, 29)" if dark else "rgb(255, 255, 255)")
    decoded = frame.evaluate(
        """async () => {
          const images = [...document.querySelectorAll("image")];
          const sizes = await Promise.all(images.map(async image => {
            const picture = new Image();
            picture.src = image.getAttribute("href");
            await picture.decode();
            return picture.naturalWidth * picture.naturalHeight;
          }));
          return Math.min(...sizes);
        }"""
    )
    assert decoded > 1


def test_contents_lead_to_their_sections(browser):
    """Chromium refuses plain links to parts of a page without an origin."""
    frame = Framed(browser, page(JUDGEMENT, NEW, OLD, LINKS)).frame
    titles = frame.locator("nav li").all()
    assert len(titles) == 11
    for title in titles:
        name = title.locator("a").inner_text()
        title.locator("label").click()
        heading = frame.get_by_role("heading", name=name.partition(" (")[0], exact=True)
        assert 0 <= heading.bounding_box()["y"] < 800


def test_nothing_runs_and_nothing_is_asked_for_whatever_people_wrote(browser):
    judgement, new, old = said_by(" ".join(ATTACKS[:20]))
    shown = Framed(browser, page(judgement, new, old, LINKS))
    assert shown.dialogs == []
    assert shown.foreign == []
    assert shown.complaints == []
    assert shown.frame.locator("script").count() == 1


def test_numbers_stand_under_the_pointer(opened):
    frame = Framed(opened(), page(JUDGEMENT, NEW, OLD, LINKS)).frame
    picture = frame.locator("svg[data-hover]").first
    picture.scroll_into_view_if_needed()
    picture.hover()
    tip = frame.locator("#tip")
    assert tip.is_visible()
    assert re.fullmatch(r"step [\d,]+: median \S+, zeros \d+%", tip.inner_text())
    frame.locator("h2").first.hover()
    assert not tip.is_visible()


def test_everything_is_there_where_no_script_runs(chromium):
    context = chromium.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.set_content(page(JUDGEMENT, NEW, OLD, LINKS))
    assert shown.locator("#tip").count() == 0
    assert shown.get_by_role("heading", name="Gradients, layer by layer").is_visible()
    assert shown.locator("svg[role=img]").count() > 10
    context.close()


def test_the_same_frame_would_run_a_script(opened):
    """Guards the tests above: without the page's policy, the attack works."""
    shown = Framed(opened(), "<h1>x</h1><script>document.title = 'ran'</script>")
    assert shown.frame.title() == "ran"


@pytest.mark.parametrize("width", [360, 700, 1000])
def test_never_scrolls_sideways_as_a_whole(width, opened):
    long = replace(NEW, name="a-very-long-run-name-" * 8)
    frame = Framed(opened(width), page(JUDGEMENT, long, OLD, LINKS)).frame
    assert frame.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_shows_the_folded_tables_on_white(opened):
    shown = opened(scheme="dark")
    shown.set_content(page(JUDGEMENT, NEW, OLD, LINKS))
    table = shown.get_by_text("The gradients in numbers")
    assert not table.is_visible()
    shown.emulate_media(media="print")
    assert table.is_visible()
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
