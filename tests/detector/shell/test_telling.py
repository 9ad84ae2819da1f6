"""What an alert says: short, with numbers, against which run, and what to do next."""

from dataclasses import replace

import pytest
from tests.detector.report.hostile import ATTACKS
from tests.detector.report.story import JUDGEMENT, a_course, said_by

from backslide.contract import Cause
from backslide_detector.act.alerts import reasons
from backslide_detector.act.telling import LONGEST, TITLE, telling
from backslide_detector.estimand import Estimand
from backslide_detector.judgement import Group, Groups
from backslide_detector.lineage import Anchor, Claim, Creeping, Standing

FOUND = Claim(1e-5, 0.9, 0.002, 0.001, found_worse=True, found_better=False)


def test_a_regression_names_both_runs_the_numbers_and_what_to_do():
    message = telling(JUDGEMENT, ["regressed"])
    assert message.title == "digits-cnn: digits-2 regressed against digits-1"
    assert message.text == (
        f"{message.title}. {JUDGEMENT.retrain.sentence} Next: {JUDGEMENT.retrain.advice}"
    )


def test_a_regression_that_luck_may_explain_is_to_be_run_again():
    retrain = replace(JUDGEMENT.retrain, advice=None, cause=(Cause.NOISE,))
    text = telling(replace(JUDGEMENT, retrain=retrain), ["regressed"]).text
    assert text.endswith("Next: Train once more with another seed.")


def test_an_alarm_names_its_reference_and_how_to_accept():
    model = Estimand(0.0108, (0.0066, 0.015), 1e-6, 10_000, "", None, 174, 282)
    anchor = Anchor("r0", "digits-0", "the release", model)
    stream = replace(JUDGEMENT.retrain.stream, anchor=anchor)
    judgement = replace(JUDGEMENT, retrain=replace(JUDGEMENT.retrain, stream=stream))
    message = telling(judgement, ["alarm"])
    assert message.title == "digits-cnn: digits-2 is worse than digits-0"
    assert "the release, digits-0: +1.08 points (95 % interval +0.66 to +1.50" in message.text
    assert "`backslide accept digits-2`" in message.text


def test_a_creep_says_since_when():
    creep = Creeping("digits-0", 30, 900.0, 500.0, "digits-2", "digits-1", new=True, rise=0.004)
    stream = replace(a_course(), creep=creep)
    judgement = replace(JUDGEMENT, retrain=replace(JUDGEMENT.retrain, stream=stream))
    message = telling(judgement, ["creep"])
    assert message.title.endswith("has crept away from digits-0")
    assert "by about 0.40 points from digits-1 on" in message.text


def test_slices_are_named_as_far_as_the_level_of_the_stream_admits():
    parts = tuple(
        Group(f"place = {name}", 333, 0.08, (0.05, 0.11), pvalue)
        for name, pvalue in (("south", 1e-5), ("east", 0.03))
    )
    stream = replace(
        JUDGEMENT.retrain.stream, standing=Standing(3, "addis", FOUND, groups=FOUND)
    )
    retrain = replace(
        JUDGEMENT.retrain, stream=stream, groups=Groups(30, 1e-5, 1.0, suspects=parts)
    )
    judgement = replace(JUDGEMENT, retrain=retrain)
    assert "slice" in reasons(judgement)
    message = telling(judgement, ["slice"])
    assert message.title.endswith("got worse in place = south")
    assert "place = south by 8.00 points (95 % interval 5.00 to 11.00 more" in message.text
    assert "east" not in message.text


def test_a_failing_run_is_told_with_its_worst_finding():
    message = telling(JUDGEMENT, ["failing"])
    assert message.title == "digits-cnn: digits-2 is failing: dead-units"
    assert JUDGEMENT.findings[0][1].sentence in message.text
    assert message.text.endswith(JUDGEMENT.findings[0][1].advice)


@pytest.mark.parametrize("text", ATTACKS)
def test_foreign_text_neither_breaks_the_line_nor_the_limit(text):
    judgement, _, _ = said_by(text)
    message = telling(judgement, ["regressed", "alarm", "creep", "slice", "failing"])
    for said in (message.title, message.text):
        assert not set("\n\x00\x1b\u202e\ud800") & set(said)
    assert len(message.title) <= TITLE
    assert len(message.text) <= LONGEST


@pytest.mark.parametrize("claim", [FOUND, replace(FOUND, found_worse=False)])
def test_a_regression_that_the_stream_does_not_confirm_says_so(claim):
    stream = replace(JUDGEMENT.retrain.stream, standing=Standing(3, "addis", claim))
    judgement = replace(JUDGEMENT, retrain=replace(JUDGEMENT.retrain, stream=stream))
    text = telling(judgement, ["regressed"]).text
    assert ("does not confirm it yet" in text) == (not claim.found_worse)
