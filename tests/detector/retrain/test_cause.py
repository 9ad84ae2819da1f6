"""What changed between two runs, and what is said to be the cause."""

from dataclasses import replace

import pytest

from backslide.contract import Cause, Verdict
from backslide_detector.evidence import DataSummary, Provenance
from backslide_detector.judgement import Estimand
from backslide_detector.retrain.cause import advice_on_causes, causes, changes
from backslide_detector.retrain.verdict import judge_retrain

SHOWN = Estimand(effect=0.01, interval=(0.005, 0.015), pvalue=0.001)


def test_equal_runs_have_no_changes(make):
    assert changes(make.run("new"), make.run("old")) == ()


def test_every_kind_of_change_is_found(make):
    old = make.run(
        "old",
        params={"lr": "0.1", "seed": "1"},
        provenance=Provenance(None, "c1", False, packages={"torch": "2.1", "gone": "1"}),
        data={"train": DataSummary("train", "d1", "v1", 100, {"3": 60, "4": 40})},
    )
    new = make.run(
        "new",
        params={"lr": "0.2", "seed": "2", "extra": "yes"},
        provenance=Provenance(
            None, "c2", True, "diff", packages={"torch": "2.2"}, environment={"gpu": "H100"}
        ),
        data={"train": DataSummary("train", "d2", "v2", 90, {"3": 60, "4": 30})},
    )
    found = {(c.kind, c.what): (c.old, c.new) for c in changes(new, old)}
    assert found == {
        (Cause.DATA, "train content"): ("d1", "d2"),
        (Cause.DATA, "train version"): ("v1", "v2"),
        (Cause.DATA, "train rows"): ("100", "90"),
        (Cause.DATA, "train examples of class 4"): ("40", "30"),
        (Cause.CONFIG, "parameter lr"): ("0.1", "0.2"),
        (Cause.CONFIG, "parameter extra"): (None, "yes"),
        (Cause.CODE, "git commit"): ("c1", "c2"),
        (Cause.CODE, "uncommitted changes"): (None, "diff"),
        (Cause.ENVIRONMENT, "package torch"): ("2.1", "2.2"),
        (Cause.ENVIRONMENT, "package gone"): ("1", None),
        (Cause.NOISE, "seed"): ("1", "2"),
    }


def test_silence_is_no_difference(make):
    silent = make.run("old", params={}, data={}, provenance=Provenance())
    assert changes(make.run("new"), silent) == ()


@pytest.mark.parametrize(
    ("beyond_noise", "expected"),
    [
        (True, (Cause.DATA, Cause.CODE)),
        (None, (Cause.DATA, Cause.CODE, Cause.NOISE)),
        (False, (Cause.NOISE,)),
    ],
)
def test_only_what_differs_is_named_and_luck_unless_excluded(make, beyond_noise, expected):
    new = make.run(
        "new", provenance=Provenance("1", "c2"), data={"train": DataSummary("train", "d2")}
    )
    changed = changes(new, make.run("old"))
    named = causes(
        Verdict.REGRESSED, changed, SHOWN, beyond_noise=beyond_noise, provenance_known=True
    )
    assert named == expected
    advice = advice_on_causes(named, changed, beyond_noise=beyond_noise)
    assert (advice is None) == (beyond_noise is False)
    if advice:
        assert "data and code" in advice
        assert ("seeds" in advice) == (beyond_noise is None)


def test_nothing_known_is_unknown(make):
    named = causes(Verdict.REGRESSED, (), SHOWN, beyond_noise=None, provenance_known=False)
    assert named == (Cause.UNKNOWN,)
    assert "log_data" in advice_on_causes(named, (), beyond_noise=None)


@pytest.mark.parametrize("verdict", [Verdict.FIRST, Verdict.NONE])
def test_without_a_comparison_there_is_no_cause(verdict):
    assert causes(verdict, (), SHOWN, beyond_noise=None, provenance_known=True) == ()


def test_an_open_verdict_with_changes_has_an_unknown_cause(make):
    new, old = make.pair(1_000, 35, fixed=17, broken=12)
    verdict = judge_retrain(replace(new, params={"lr": "0.2"}), old)
    assert verdict.cause == (Cause.UNKNOWN,)
