"""What judge_retrain says about two runs."""

from dataclasses import replace

import numpy as np
import pytest

from backslide.contract import Cause, Verdict
from backslide_detector.evidence import DataSummary, ErrorRate, Predictions, Provenance
from backslide_detector.retrain.history import PastRun, examples_digest
from backslide_detector.retrain.verdict import judge_retrain


def test_the_article_example_is_improved_when_paired(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125)
    verdict = judge_retrain(new, old)
    assert verdict.verdict is Verdict.IMPROVED
    assert verdict.sentence.startswith(
        "This model makes 0.50 points fewer errors (3.00 % instead of 3.50 %; 95 % interval "
        "0.84 to 0.16 fewer; 175 fixed, 125 newly broken of 10,000)."
    )
    assert (verdict.model.fixed, verdict.model.broken, verdict.model.n) == (175, 125, 10_000)
    # Exact p is 0.00459; the mid-p is a little smaller.
    assert verdict.model.pvalue == pytest.approx(0.0039, abs=0.0004)
    assert verdict.model.interval == pytest.approx((-0.00844, -0.00162), abs=1e-5)
    assert verdict.compared_to == "old"


def test_the_same_change_upside_down_is_regressed(make):
    new, old = make.pair(10_000, 300, fixed=125, broken=175)
    verdict = judge_retrain(new, old)
    assert verdict.verdict is Verdict.REGRESSED
    assert "0.50 points more errors" in verdict.sentence
    assert "0.16 to 0.84 more" in verdict.sentence


def test_the_same_rates_on_a_thousand_examples_are_inconclusive(make):
    new, old = make.pair(1_000, 35, fixed=17, broken=12)
    verdict = judge_retrain(new, old)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert f"{100 * verdict.mde:.2f} points" in verdict.sentence
    assert "80 % power" in verdict.sentence
    assert verdict.cause == (Cause.NOISE,)
    assert verdict.advice == (
        "About 9,200 test examples would show a difference of 0.50 points."
    )


def test_no_flips_on_many_examples_is_equivalent(make):
    new, old = make.pair(10_000, 300, fixed=20, broken=22)
    verdict = judge_retrain(new, old)
    assert verdict.verdict is Verdict.EQUIVALENT
    assert verdict.sentence.startswith("Equivalent within 0.50 points")
    assert verdict.margin == 0.005


def test_detectably_worse_but_below_the_margin_is_equivalent_and_said_so(make):
    new, old = make.pair(100_000, 3_000, fixed=100, broken=200)
    verdict = judge_retrain(new, old)
    assert verdict.verdict is Verdict.EQUIVALENT
    assert "detectably worse, but below the margin" in verdict.sentence
    assert verdict.model.pvalue < 0.05


def test_a_smaller_margin_turns_it_into_a_regression(make):
    new, old = make.pair(100_000, 3_000, fixed=100, broken=200)
    assert judge_retrain(new, old, margin=0.0005).verdict is Verdict.REGRESSED
    with pytest.raises(ValueError, match="margin"):
        judge_retrain(new, old, margin=0.0)


def test_the_default_margin_is_a_tenth_of_a_large_error(make):
    new, old = make.pair(1_000, 200, fixed=5, broken=5)
    assert judge_retrain(new, old).margin == pytest.approx(0.02)


def test_order_and_extra_examples_do_not_matter(make):
    before, after = make.flips(2_000, 100, fixed=60, broken=10)
    order = np.random.default_rng(0).permutation(2_000)
    ids = np.array([f"id{i}" for i in range(2_000)], dtype=object)
    old = make.run("old", preds=make.predictions(before, ids=ids))
    shuffled = make.predictions(np.r_[after[order], [False] * 5], ids=[*ids[order], *"vwxyz"])
    verdict = judge_retrain(make.run("new", preds=shuffled), old)
    assert (verdict.model.fixed, verdict.model.broken, verdict.model.n) == (60, 10, 2_000)
    assert verdict.new_error == pytest.approx(50 / 2_000)


def test_few_common_examples_are_not_enough_to_pair(make):
    correct = np.arange(1_000) % 20 != 0
    old = make.run("old", preds=make.predictions(correct))
    ids = [f"id{i}" for i in range(900, 1_900)]
    verdict = judge_retrain(make.run("new", preds=make.predictions(correct, ids=ids)), old)
    assert "unpaired" in verdict.sentence
    assert verdict.model.fixed is None
    assert "100 test examples" in verdict.advice
    assert verdict.recipe.interval is None, "another test set is no retrain noise"
    assert "different examples" in verdict.recipe.reason


def test_relabelled_examples_are_left_out(make):
    before, after = make.flips(1_000, 50, fixed=30, broken=2)
    labels = np.array(["a"] * 1_000, dtype=object)
    relabelled = labels.copy()
    relabelled[:10] = "b"
    verdict = judge_retrain(
        make.run("new", preds=make.predictions(after, targets=relabelled)),
        make.run("old", preds=make.predictions(before, targets=labels)),
    )
    assert verdict.model.n == 990
    assert verdict.model.fixed == 20
    assert "10 others left out" in verdict.sentence


def test_two_rates_and_sizes_are_compared_unpaired(make):
    new = make.run("new", error=0.05, examples=10_000)
    old = make.run("old", error=0.03, examples=10_000)
    verdict = judge_retrain(new, old)
    assert verdict.verdict is Verdict.REGRESSED
    assert "10,000 examples, unpaired" in verdict.sentence
    assert "Fisher" in verdict.model.method


def test_without_the_number_of_examples_there_is_no_verdict(make):
    verdict = judge_retrain(make.run("new", error=0.30), make.run("old", error=0.03))
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "how many test examples" in verdict.sentence
    assert "test_examples" in verdict.advice


def test_no_predecessor_is_first(make):
    verdict = judge_retrain(make.run("new", error=0.03, examples=100), None)
    assert verdict.verdict is Verdict.FIRST
    assert verdict.cause == ()
    assert verdict.compared_to is None


@pytest.mark.parametrize("change", [{"lineage": None, "error": 0.1}, {"error": None}])
def test_nothing_to_compare_is_none_and_says_what_to_log(make, change):
    verdict = judge_retrain(make.run("new", **change), None)
    assert verdict.verdict is Verdict.NONE
    assert verdict.advice


def test_a_pinned_baseline_needs_no_lineage(make):
    new = make.run("new", error=0.05, examples=10_000, lineage=None)
    assert judge_retrain(new, make.run("old", error=0.03, examples=10_000)).verdict is (
        Verdict.REGRESSED
    )


def test_a_baseline_without_an_error_is_none(make):
    verdict = judge_retrain(make.run("new", error=0.05, examples=10_000), make.run("old"))
    assert verdict.verdict is Verdict.NONE
    assert "old states no error" in verdict.sentence


def test_an_impossible_rate_is_no_error(make):
    new = make.run("new", error=3.5, examples=10_000)
    assert judge_retrain(new, make.run("old", error=0.03, examples=100)).verdict is Verdict.NONE


def test_another_split_common_to_both_is_used(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125)
    old = replace(old, error=ErrorRate("val", 0.2, 10, "val_error"))
    assert judge_retrain(new, old).split == "test"


def history(rates, n=10_000):
    return [
        PastRun(f"h{i}", f"h{i}", float(i - 50), error=ErrorRate("test", rate, n, "x"))
        for i, rate in enumerate(rates)
    ]


def test_the_recipe_question_stays_open_without_a_history(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125, new={"params": {"lr": "0.2"}})
    verdict = judge_retrain(new, old)
    assert verdict.recipe.effect == pytest.approx(-0.005)
    assert verdict.recipe.interval is None
    assert "other seeds" in verdict.recipe.reason


def test_a_steady_history_supports_the_change(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125, new={"params": {"lr": "0.2"}})
    past = history([0.0350, 0.0345, 0.0362, 0.0338, 0.0355])
    verdict = judge_retrain(new, old, history=past)
    assert verdict.recipe.interval[1] < 0
    assert verdict.recipe.n == 6
    assert "not luck" in verdict.sentence
    assert verdict.cause == (Cause.CONFIG,)


def test_a_restless_history_makes_it_noise(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125, new={"params": {"lr": "0.2"}})
    past = history([0.0290, 0.0400, 0.0330, 0.0360, 0.0310])
    verdict = judge_retrain(new, old, history=past)
    assert verdict.recipe.interval[0] <= 0 <= verdict.recipe.interval[1]
    assert "luck alone" in verdict.sentence
    assert verdict.cause == (Cause.NOISE,)


def test_seed_repeats_are_preferred_to_the_lineage(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125, new={"params": {"lr": "0.2"}})
    recipe = PastRun.of(old).recipe
    repeats = [replace(run, recipe=recipe) for run in history([0.0349, 0.0352, 0.0351])]
    other = [replace(run, run_id=f"other-{run.run_id}") for run in history([0.5, 0.01])]
    verdict = judge_retrain(new, old, history=[*repeats, *other])
    assert "seed repeats" in verdict.recipe.method
    assert verdict.recipe.n == 4
    assert verdict.cause == (Cause.CONFIG,)


def test_history_on_another_test_set_does_not_count(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125)
    new = replace(new, params={"lr": "0.2"})
    verdict = judge_retrain(new, old, history=history([0.03, 0.04, 0.05], n=500))
    assert verdict.recipe.interval is None


def test_history_with_other_labels_does_not_count(make):
    """The same number of examples under the same ids, but relabelled since."""
    new, old = make.pair(10_000, 350, fixed=175, broken=125)
    new = replace(new, params={"lr": "0.2"})
    past = history([0.035, 0.036, 0.034])
    mine = [replace(run, test_set=examples_digest(new)) for run in past]
    theirs = [replace(run, test_set="before") for run in past]
    assert judge_retrain(new, old, history=mine).recipe.interval is not None
    assert judge_retrain(new, old, history=theirs).recipe.interval is None


def test_a_test_set_is_its_examples_and_their_labels_in_any_order(make):
    new, _ = make.pair(50, 10, fixed=1, broken=2)
    table = new.predictions["test"]
    turned = Predictions(table.ids[::-1], table.targets[::-1], table.predictions, table.correct)
    assert turned.test_set == table.test_set
    relabelled = table.targets.copy()
    relabelled[3] = "b"
    assert replace(table, targets=relabelled).test_set != table.test_set
    values = np.linspace(0.0, 1.0, 50).astype(object)
    assert replace(table, targets=values).test_set != table.test_set


def test_words_say_what_luck_was_held_against(make):
    """One more error than the predecessor, but far from all the retrains before it."""
    new, old = make.pair(10_000, 400, fixed=10, broken=11, new={"params": {"lr": "0.2"}})
    said = judge_retrain(new, old, history=history([0.03] * 9 + [0.0301])).sentence
    assert "held against all of them it is 0.92 points more" in said
    near = judge_retrain(new, old, history=history([0.04] * 9 + [0.0401])).sentence
    assert "held against" not in near


def test_only_the_seed_differs(make):
    new, old = make.pair(
        10_000, 350, fixed=175, broken=125,
        new={"provenance": Provenance(seed="2", git_commit="c1", packages={"torch": "2.1"})},
    )  # fmt: skip
    verdict = judge_retrain(new, old)
    assert verdict.cause == (Cause.NOISE,)
    assert [(c.what, c.old, c.new) for c in verdict.changed] == [("seed", "1", "2")]


def test_changed_data_is_named_first(make):
    new, old = make.pair(
        2_000, 60, fixed=5, broken=150,
        new={"data": {"train": DataSummary("train", "d2", rows=100)}},
    )  # fmt: skip
    verdict = judge_retrain(new, old)
    assert verdict.verdict is Verdict.REGRESSED
    assert verdict.cause[0] is Cause.DATA
    assert "data" in verdict.advice


@pytest.mark.parametrize("examples", [0, -5])
def test_an_impossible_number_of_examples_is_an_unknown_one(make, examples):
    new = make.run("new", error=0.3, examples=examples)
    verdict = judge_retrain(new, make.run("old", error=0.03, examples=100))
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "how many test examples" in verdict.sentence


def test_impossible_rates_in_the_history_are_left_out(make):
    new, old = make.pair(10_000, 350, fixed=175, broken=125, new={"params": {"lr": "0.2"}})
    verdict = judge_retrain(new, old, history=history([float("nan"), 7.0, 0.0345, 0.0352]))
    assert verdict.recipe.n == 3


def test_a_billion_examples_make_a_tiny_change_detectable_but_no_regression(make):
    new = make.run("new", error=0.0301, examples=1_000_000_000)
    verdict = judge_retrain(new, make.run("old", error=0.03, examples=1_000_000_000))
    assert verdict.verdict is Verdict.EQUIVALENT
    assert "detectably worse" in verdict.sentence
