"""The course of a lineage as the report shows it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.report.hostile import ATTACKS
from tests.detector.report.html_reader import Page
from tests.detector.report.story import JUDGEMENT, LINKS, NEW, OLD, a_course

from backslide_detector.lineage import Stream
from backslide_detector.report.page import page
from backslide_detector.report.pictures.lineage import lineage


def shown(stream):
    retrain = replace(JUDGEMENT.retrain, stream=stream)
    return Page(page(replace(JUDGEMENT, retrain=retrain), NEW, OLD, LINKS))


def classes(picture):
    elements = Page(str(picture)).elements
    return [attributes.get("class", "").split() for _, attributes in elements]


def test_the_section_says_what_is_expected_and_what_was_found():
    said = shown(a_course()).said()
    for part in (
        "24 retrains with a test set of this name and size",
        "2 more had another",
        "between 3.12 % and 3.66 % if nothing changes (95 %, from 13 accepted retrains)",
        "Creep: the detector alarmed at run-20, and the best date for the change is run-16",
        "reference of the alarm, anchor of creep",
    ):
        assert part in said


def test_everything_known_is_drawn_once():
    course = a_course().course
    drawn = classes(lineage(course, "error", 500.0))
    count = {
        name: sum(name in each for each in drawn)
        for name in (
            "point", "span", "bad", "reference", "anchor", "anchored", "expected", "next",
            "changed", "signal", "threshold", "curve",
        )
    }  # fmt: skip
    assert count == {
        "point": 24, "span": 24, "bad": 2, "reference": 1, "anchor": 1, "anchored": 1,
        "expected": 2, "next": 1, "changed": 1, "signal": 1, "threshold": 1, "curve": 1,
    }  # fmt: skip


def test_of_a_long_lineage_the_newest_are_shown_under_their_own_numbers():
    stream = a_course(200, signal=False)
    seen = shown(replace(stream, course=replace(stream.course, earlier=323)))
    assert "The newest 200 of 523 retrains with a test set" in seen.said()
    assert "The newest 50 of 523 retrains" in seen.said()
    drawn = Page(str(lineage(replace(stream.course, earlier=323), "error", None)))
    assert "324" in drawn.text


def test_without_a_history_it_says_so_and_draws_no_expectation():
    course = a_course(1, signal=False).course
    course = replace(course, expected=None, next=None)
    said = shown(Stream(course=course)).said()
    assert "1 retrain with a test set" in said
    assert "No history yet" in said
    drawn = classes(lineage(course, "error", None))
    assert not any("expected" in each or "threshold" in each for each in drawn)


def test_without_a_course_the_gap_is_named():
    assert "The lineage so far" in shown(Stream()).said()
    assert "names no lineage or states no error" in shown(Stream()).said()


@pytest.mark.parametrize("factor", [1e-300, 1e-3, 1.0, 25.0, 1e12])
@pytest.mark.parametrize("count", [1, 2, 200])
def test_any_size_of_loss_and_any_number_of_retrains_fit(factor, count):
    course = a_course(count, signal=False).course
    points = tuple(replace(p, error=p.error * factor, interval=None) for p in course.retrains)
    course = replace(course, retrains=points, expected=None, next=None)
    picture = str(lineage(course, "loss", 500.0))
    assert "nan" not in picture.lower()
    assert "inf" not in picture.lower()


def test_a_gross_regression_leaves_the_others_legible():
    course = a_course().course
    last = replace(course.retrains[-1], error=0.9, interval=(0.89, 0.91), accepted=False)
    drawn = Page(
        str(lineage(replace(course, retrains=(*course.retrains[:-1], last)), "error", 500.0))
    )
    heights = [
        float(a["cy"]) for tag, a in drawn.elements if tag == "circle" and "point" in a["class"]
    ]
    assert np.ptp(heights[:-1]) > 100
    assert "90.0 % ↑" in drawn.said()


@pytest.mark.parametrize("text", ATTACKS)
def test_foreign_names_stay_text(text):
    course = a_course(3).course
    points = tuple(replace(p, name=text) for p in course.retrains)
    seen = shown(replace(a_course(3), course=replace(course, retrains=points)))
    assert seen.names() == shown(a_course(3)).names()
