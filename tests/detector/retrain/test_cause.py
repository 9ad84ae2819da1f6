"""What changed between two runs, and what is said to be the cause."""

from dataclasses import replace

import numpy as np
import pytest

from backslide.contract import Cause, Verdict
from backslide_detector.engine import Case, judge
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import DataSummary, ErrorRate, Provenance
from backslide_detector.retrain.cause import advice_on_causes, causes, changes
from backslide_detector.retrain.history import PastRun
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


BOTH = (Cause.DATA, Cause.CODE)


@pytest.mark.parametrize(
    ("beyond_noise", "striking", "expected"),
    [
        (True, True, BOTH),
        (None, True, (*BOTH, Cause.NOISE)),
        (None, False, (Cause.UNKNOWN,)),
        (False, False, (Cause.NOISE,)),
    ],
)
def test_retrain_noise_decides_the_cause_however_clear_the_difference(
    make, beyond_noise, striking, expected
):
    new = make.run(
        "new", provenance=Provenance("1", "c2"), data={"train": DataSummary("train", "d2")}
    )
    changed = changes(new, make.run("old"))
    for verdict, model in ((Verdict.REGRESSED, SHOWN), (Verdict.EQUIVALENT, SHOWN)):
        named = causes(
            verdict,
            changed,
            model,
            beyond_noise=beyond_noise,
            striking=striking,
            provenance_known=True,
        )
        assert named == expected
    advice = advice_on_causes(named, changed, beyond_noise=beyond_noise, run_id="abc")
    assert (advice is None) == (beyond_noise is False)
    if advice:
        assert "data and code apart" in advice
        assert "`backslide attribute abc`" in advice
        assert ("seeds" in advice) == (beyond_noise is None)


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.REGRESSED])
def test_beyond_the_noise_with_nothing_known_to_have_changed_is_unknown(verdict):
    """Seeds would have to do what repeats say they cannot: something was not recorded."""
    named = causes(verdict, (), SHOWN, beyond_noise=True, striking=True, provenance_known=True)
    assert named == (Cause.UNKNOWN,)
    assert "more than luck" in advice_on_causes(named, (), beyond_noise=True)


def test_nothing_known_is_unknown(make):
    named = causes(
        Verdict.REGRESSED, (), SHOWN, beyond_noise=None, striking=True, provenance_known=False
    )
    assert named == (Cause.UNKNOWN,)
    assert "log_data" in advice_on_causes(named, (), beyond_noise=None)


def seeds(old, width):
    """Ten trainings of one recipe, their errors evenly spread over 3.5 % +- the width."""
    return [
        replace(
            PastRun.of(old), run_id=f"s{n}", started=-1.0 - n, recipe="same",
            error=ErrorRate("test", float(error), 10_000, "test/error"),
        )
        for n, error in enumerate(0.035 + np.linspace(-width, width, 10))
    ]  # fmt: skip


def test_a_clear_difference_within_seed_noise_is_called_noise_and_said_so(make):
    """With a spread of 0.5 points, 0.9 points are significant on 10,000 examples, and luck."""
    new, old = make.pair(10_000, 350, fixed=80, broken=170)
    history = seeds(old, 0.008)
    verdict = judge_retrain(replace(new, params={"lr": "0.2"}), old, history=history)
    assert verdict.verdict is Verdict.REGRESSED
    assert verdict.cause == (Cause.NOISE,)
    assert "Retrains of one recipe differ by about 0." in verdict.sentence
    assert "from 10 seed repeats), so luck alone may be the reason." in verdict.sentence


def test_the_same_difference_beyond_seed_noise_is_the_changes(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125)
    history = seeds(old, 0.0018)
    verdict = judge_retrain(replace(new, params={"lr": "0.2"}), old, history=history)
    assert verdict.cause == (Cause.CONFIG,)
    assert verdict.sentence.startswith(
        "This model makes 0.50 points fewer errors (3.00 % instead of 3.50 %; 95 % interval "
        "0.84 to 0.16 fewer; 175 fixed, 125 newly broken of 10,000). Retrains of one recipe "
        "differ by about 0.1"
    )
    assert verdict.sentence.endswith("so the change, not luck, is the likely reason.")


def test_without_repeats_a_small_gain_has_an_unknown_cause_and_a_huge_loss_a_likely_one(make):
    def against(fixed, broken):
        new, old = make.pair(10_000, 350, fixed=fixed, broken=broken)
        return judge_retrain(replace(new, params={"lr": "0.2"}), old)

    small = against(175, 125)
    assert (small.verdict, small.cause) == (Verdict.IMPROVED, (Cause.UNKNOWN,))
    assert small.sentence.endswith("is not known yet, so luck cannot be ruled out.")
    assert against(10, 900).cause == (Cause.CONFIG, Cause.NOISE)


@pytest.mark.parametrize("verdict", [Verdict.FIRST, Verdict.NONE])
def test_without_a_comparison_there_is_no_cause(verdict):
    assert (
        causes(verdict, (), SHOWN, beyond_noise=None, striking=True, provenance_known=True)
        == ()
    )


def test_an_open_verdict_with_changes_has_an_unknown_cause(make):
    new, old = make.pair(1_000, 35, fixed=17, broken=12)
    verdict = judge_retrain(replace(new, params={"lr": "0.2"}), old)
    assert verdict.cause == (Cause.UNKNOWN,)


def test_a_regression_with_a_cause_says_where_to_look_first(make):
    new, old = make.pair(10_000, 350, fixed=80, broken=220)
    history = seeds(old, 0.0018)
    verdict = judge_retrain(replace(new, params={"lr": "0.2"}), old, history=history)
    assert verdict.cause == (Cause.CONFIG,)
    assert verdict.advice == "Look at the settings first: parameter lr (0.1 → 0.2)."


def test_once_fresh_seeds_have_shown_luck_the_sentence_takes_its_word_back(make):
    old = make.run("old", error=0.050, examples=2_000)
    new = make.run("new", error=0.090, examples=2_000, started=10.0, params={"lr": "0.2"})
    fresh = tuple(
        (mix, PastRun.of(make.run(f"f{n}", error=error, examples=2_000, started=20.0 + n)))
        for n, (mix, error) in enumerate(
            (mix, error)
            for mix in (frozenset(), frozenset({Cause.CONFIG}))
            for error in (0.0690, 0.0700, 0.0710)
        )
    )
    verdict = judge(Case(new, old, extra=fresh)).judgement.retrain
    assert verdict.cause == (Cause.NOISE,)
    assert verdict.sentence.endswith("it was luck, and there is nothing left to explain.")
    assert verdict.advice is None
