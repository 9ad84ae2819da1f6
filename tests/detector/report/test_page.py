"""The page: complete in one file, harmless whatever people write, small, never in the way."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.detector.report.hostile import texts
from tests.detector.report.html_reader import Page
from tests.detector.report.story import (
    BARE,
    BARE_RUN,
    JUDGEMENT,
    LINKS,
    NEW,
    OLD,
    history,
    said_by,
)
from tests.detector.report.test_network import deep

from backslide.contract import Health, Verdict
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import Series
from backslide_detector.report.links import Links
from backslide_detector.report.page import page

HTML = page(JUDGEMENT, NEW, OLD, LINKS)
PAGE = Page(HTML)
ELEMENTS = PAGE.names()
ATTRIBUTES = PAGE.attributes()


def test_says_verdict_findings_changes_and_problems():
    said = PAGE.said()
    for part in (
        JUDGEMENT.retrain.sentence,
        "health: failing",
        "Likely cause: data, seed noise",
        JUDGEMENT.findings[0][1].sentence,
        "Lower the learning rate or warm it up.",
        "5f1c9a0e",
        "part-00003.parquet is truncated",
        "ZeroDivisionError",
        "No bounded activation.",
        "McNemar mid-p",
        "1.7 points",
    ):
        assert part in said


def test_an_error_of_zero_before_is_said():
    retrain = replace(JUDGEMENT.retrain, old_error=0.0)
    said = Page(page(replace(JUDGEMENT, retrain=retrain), BARE_RUN, None, LINKS)).said()
    assert "before: 0.0 %" in said


def test_every_entry_of_the_contents_leads_to_a_heading():
    targets = [link[1:] for link in PAGE.values("href") if link.startswith("#")]
    assert {"sure", "changed", "findings", "curves", "classes", "gradients"} <= set(targets)
    assert set(targets) <= set(PAGE.values("id"))
    labelled = PAGE.values("aria-labelledby")
    assert set(labelled) <= set(PAGE.values("id"))


def test_every_picture_has_words_for_those_who_cannot_see_it():
    pictures = [a for tag, a in PAGE.elements if tag == "svg" and "aria-hidden" not in a]
    assert len(pictures) > 10
    assert all(a["role"] == "img" and len(a["aria-label"]) > 10 for a in pictures)


def test_every_table_has_a_caption():
    tags = [tag for tag, _ in PAGE.elements]
    assert tags.count("table") == tags.count("caption") > 5


def test_policy_allows_the_style_sheet_by_hash_and_nothing_foreign():
    policy = next(a["content"] for _, a in PAGE.elements if "http-equiv" in a)
    digest = b64encode(sha256(PAGE.css.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_the_one_script_is_the_one_of_the_policy():
    policy = next(a["content"] for _, a in PAGE.elements if "http-equiv" in a)
    script = re.search(r"<script>(.*?)</script>", HTML, re.DOTALL)[1]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    for dangerous in ("innerHTML", "eval", "fetch", "outerHTML", "document.write"):
        assert dangerous not in script


def test_loads_nothing():
    assert [tag for tag, _ in PAGE.elements].count("script") == 1  # our own, by its hash
    assert not ELEMENTS & {"link", "img", "iframe", "object", "embed", "base", "form"}
    assert "style" not in ATTRIBUTES  # the policy would refuse it
    assert not PAGE.values("src")
    pictures = [a["href"] for tag, a in PAGE.elements if tag == "image"]
    assert pictures
    assert all(href.startswith("data:image/png;base64,") for href in pictures)
    assert set(re.findall(r"url\((.*?)\)", PAGE.css)) == {"#hatch"}
    assert "@import" not in PAGE.css


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_whatever_people_write_stays_text(text):
    judgement, new, old = said_by(text)
    html = page(judgement, new, old, Links(text, text, text, text))
    read = Page(html)
    assert read.names() <= ELEMENTS
    assert read.attributes() <= ATTRIBUTES | {"transform"}  # of long labels, which are turned
    assert not [name for name in read.attributes() if name.startswith("on")]
    for href in read.values("href"):
        assert href.startswith(("#", "data:image/png;base64,", "http://", "https://"))
    html.encode("utf-8")
    assert len(html) < 2_000_000


def test_shows_foreign_text_as_it_was_written():
    judgement, new, old = said_by("<b>&amp;</b>")
    assert "<b>&amp;</b>" in Page(page(judgement, new, old, LINKS)).said()


def test_fifty_layers_and_five_hundred_snapshots_stay_below_two_megabytes():
    new = replace(
        NEW,
        activations=history(50, 500),
        gradients=history(50, 500, suffix=".weight"),
        weights=history(50, 500, suffix=".weight", seed=1),
        updates=history(50, 500, suffix=".weight", seed=2),
        graph=deep(84),
    )
    html = page(JUDGEMENT, new, new, LINKS)
    assert len(html.encode()) < 2_000_000
    assert html.count("blocks.49.conv") >= 2


def test_a_thousand_layers_are_thinned_but_flagged_ones_stay():
    layers = history(1000, 3)
    found = replace(JUDGEMENT.findings[0][1], layer="blocks.501.conv")
    judgement = replace(JUDGEMENT, results=(replace(JUDGEMENT.results[0], outcome=found),))
    html = page(judgement, replace(NEW, activations=layers, gradients=None), None, LINKS)
    assert "blocks.501.conv" in html
    assert len(html.encode()) < 2_000_000


def test_a_run_with_nothing_says_what_is_missing():
    said = Page(page(BARE, BARE_RUN, None, Links())).said()
    assert "No verdict" in said
    assert "The run logged no error to compare." in said
    assert "No check had the evidence it needs" in said
    for missing in ("no loss or error", "no predictions", "No gradients", "No activations"):
        assert missing in said


def test_a_first_run_needs_no_predecessor():
    retrain = replace(
        BARE.retrain, verdict=Verdict.FIRST, sentence="First run.", new_error=0.03, split="test"
    )
    said = Page(page(replace(BARE, retrain=retrain), NEW, None, LINKS)).said()
    assert "First of its lineage" in said
    assert "predecessor" not in said.replace("Its predecessor", "")


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("health", Health)
def test_every_verdict_and_health_has_its_words(verdict, health):
    judgement = replace(BARE, retrain=replace(BARE.retrain, verdict=verdict), health=health)
    assert f"health: {health}" in Page(page(judgement, BARE_RUN, None, Links())).said()


numbers = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1e-300, 1e308, -1e308]))


@settings(max_examples=60, deadline=None)
@given(numbers, st.none() | st.tuples(st.floats(), st.floats()), numbers, numbers)
def test_any_number_can_be_drawn(effect, interval, margin, mde):
    estimand = Estimand(effect, interval, effect, 5, "test")
    retrain = replace(
        JUDGEMENT.retrain,
        model=estimand,
        recipe=estimand,
        margin=margin,
        mde=mde,
        old_error=effect,
        new_error=margin,
    )
    html = page(replace(JUDGEMENT, retrain=retrain), BARE_RUN, None, Links())
    drawn = [v for _, a in Page(html).elements for k, v in a.items() if k in ("x", "x1", "cx")]
    assert not [v for v in drawn if not np.isfinite(float(v))]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_any_curve_can_be_drawn(values):
    steps = np.arange(len(values))
    series = Series(steps, np.array(values), steps.astype(float))
    new = replace(BARE_RUN, series={"loss": series, "val/error": series})
    html = page(BARE, new, new, Links())
    assert not re.search(r'(?:[xy][12]?|d)="[^"]*(?:nan|inf)', html)


def test_layers_never_measured_are_hatched_not_invented():
    layers = history(3, 5)
    nothing = replace(
        layers,
        histogram=np.zeros_like(layers.histogram),
        dead_fraction=np.full_like(layers.dead_fraction, np.nan),
    )
    read = Page(
        page(BARE, replace(BARE_RUN, gradients=nothing, activations=nothing), None, LINKS)
    )
    assert "missing" in read.values("class")
    assert "not measured → not measured" in read.said()


def test_the_same_input_gives_the_same_page():
    assert page(JUDGEMENT, NEW, OLD, LINKS) == HTML


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_the_measure_itself():
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)  # WCAG's own extreme
    assert _contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )  # the known near miss


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme):
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", PAGE.css, re.DOTALL)
    )
    colours = light if scheme == "light" else light | dark
    for text in ("ink", "soft", "new", "good", "bad", "warn"):
        assert _contrast(colours[text], colours["ground"]) >= 4.5, text
    for tone, ground in (("bad", "bad"), ("good", "good"), ("warn", "warn"), ("new", "calm")):
        assert _contrast(colours[tone], colours[f"{ground}-ground"]) >= 4.5, tone
        assert _contrast(colours["ink"], colours[f"{ground}-ground"]) >= 4.5, tone
