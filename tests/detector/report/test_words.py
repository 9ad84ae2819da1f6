"""The note and the summary: verdict first, bounded, and harmless as Markdown."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from markdown_it import MarkdownIt
from tests.detector.report.hostile import ATTACKS, texts
from tests.detector.report.story import BARE, BARE_RUN, JUDGEMENT, LINKS, NEW, OLD, said_by

from backslide.contract import NOTE_BEGIN, NOTE_END, TEXT_LIMIT, Verdict
from backslide_detector.judgement import Change
from backslide_detector.report.links import Links
from backslide_detector.report.markdown import address, escape
from backslide_detector.report.words import note, summary

NOTE = note(JUDGEMENT, NEW, OLD, LINKS)


def rendered(markdown: str) -> str:
    """HTML by the most permissive reading: raw HTML, tables, strike-through."""
    return (
        MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
        .render(markdown)
    )


def test_the_verdict_comes_first_with_its_numbers():
    first = NOTE.splitlines()[0]
    assert first.startswith("**Regressed.** Test error rose from 3.0 % to 5.9 %")


def test_health_and_cause_are_among_the_three_lines_mlflow_shows():
    assert "failing" in NOTE.splitlines()[1]
    assert "data" in NOTE.splitlines()[2]


def test_then_changes_then_findings_then_notes_then_links():
    order = ["### What changed", "### Findings", "### Notes", "[Report with pictures]"]
    places = [NOTE.index(part) for part in order]
    assert places == sorted(places)
    assert "Lower the learning rate or warm it up." in NOTE
    assert "since step 120" in NOTE


def test_renders_as_table_list_and_links():
    html = rendered(NOTE)
    assert html.count("<table>") == 1
    assert html.count("<tr>") == 3
    assert html.count("<a href=") == 3
    assert "<strong>Regressed.</strong>" in html


@settings(max_examples=60, deadline=None)
@given(texts)
def test_whatever_people_write_stays_text(text):
    judgement, new, old = said_by(text)
    markdown = note(judgement, new, old, Links())
    assert len(markdown) <= TEXT_LIMIT
    assert NOTE_BEGIN not in markdown
    assert NOTE_END not in markdown
    html = rendered(markdown)
    assert "<a" not in html
    assert "<img" not in html
    assert "<code" not in html
    assert "<script" not in html
    assert html.count("<table>") == 1
    assert html.count("<h3>") == html.count("<h") - html.count("<head") - html.count("<hr")
    markdown.encode("utf-8")


@pytest.mark.parametrize("text", ATTACKS)
def test_no_address_is_left_that_a_reader_could_turn_into_a_link(text):
    left = escape(text)
    assert not re.search(r"://|www\.|@|[<>\[\]]", left)


def test_escaped_text_reads_as_it_was_written():
    text = "lr=1e-3, <b> & _x_ | `y` [z](w) # 1 *2*"
    assert rendered(escape(text)) == (
        "<p>lr=1e-3, &lt;b&gt; &amp; _x_ | `y` [z](w) # 1 *2*</p>\n"
    )


def test_only_web_addresses_become_links():
    assert address("https://host/#/a?b=c&d=e") == "https://host/#/a?b=c&d=e"
    assert address("http://host/a b)c") == "http://host/a%20b%29c"
    for bad in (
        "javascript:alert(1)",
        "data:text/html,x",
        "//host/x",
        "file:///etc",
        "http://[",
    ):
        assert address(bad) is None


def test_many_changes_are_counted_not_listed():
    change = JUDGEMENT.retrain.changed[0]
    many = tuple(replace(change, what=f"setting {i}") for i in range(500))
    judgement = replace(JUDGEMENT, retrain=replace(JUDGEMENT.retrain, changed=many))
    written = note(judgement, NEW, OLD, LINKS)
    assert "488 more in the report" in written
    assert len(written) <= TEXT_LIMIT


def test_what_does_not_fit_is_left_out_whole_and_links_stay():
    wide = Change(JUDGEMENT.retrain.changed[0].kind, *["<" * 400] * 3)
    finding = replace(JUDGEMENT.results[0].outcome, sentence="<" * 400, advice="<" * 400)
    judgement = replace(
        JUDGEMENT,
        retrain=replace(JUDGEMENT.retrain, changed=(wide,) * 12),
        results=(replace(JUDGEMENT.results[0], outcome=finding),) * 6,
    )
    written = note(judgement, NEW, OLD, LINKS)
    assert len(written) <= TEXT_LIMIT
    assert written.startswith("**Regressed.**")
    assert written.endswith(")")
    assert rendered(written).count("<a href=") == 3


def test_a_run_with_nothing_gets_two_lines():
    assert note(BARE, BARE_RUN, None, Links()).splitlines() == [
        "**No verdict.** The run logged no error to compare.  ",
        "Health: **unknown**.",
    ]


def test_summary_is_the_verdict_then_the_worst_finding():
    assert summary(JUDGEMENT) == (
        "Test error rose from 3.0 % to 5.9 % (+2.9 points, 95 % interval +1.4 to +4.4)."
        " Inside: dead-units in blocks.1.conv."
    )


def test_summary_of_a_first_run_is_its_worst_finding():
    first = replace(JUDGEMENT.retrain, verdict=Verdict.FIRST)
    assert summary(replace(JUDGEMENT, retrain=first)).startswith("dead-units: 91 %")


@given(texts)
def test_summary_is_one_bounded_line(text):
    judgement, _, _ = said_by(text)
    said = summary(judgement)
    assert len(said) <= 600
    assert said == " ".join(said.split())
    said.encode("utf-8")
