"""What the six checks say of two probes, and when they say that they cannot tell."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.builders import failing, run
from tests.detector.inside.builders import (
    CLASSES,
    EXAMPLES,
    NAMES,
    ONE_HOT,
    groups_of,
    healthy,
    inside,
    nothing,
    outputs,
    probe,
    warm,
)
from tests.detector.inside.test_measures import CHAIN, changed, forming

from backslide_detector.checks.registry import backed, load_checks, run_checks
from backslide_detector.finding import Clear, Crashed, Found, Severity, Skipped
from backslide_detector.inside.pair import Pair
from backslide_detector.probe import Branch

MINE = {check.name: check for check in load_checks() if check.family == "inside"}
COLD = tuple(inside(f"h{i}", healthy(i + 1)) for i in range(9))
OLD = inside("old", probe(), final_weights="w")


def said(name, pair, evidence=None):
    """The outcome of one check."""
    evidence = run(probe=pair.new.probe) if evidence is None else evidence
    (result,) = run_checks(evidence, [MINE[name]], pair=pair)
    assert not isinstance(result.outcome, Crashed), result.outcome.traceback
    return result.outcome


def reset(name, seed=40):
    """A warm retrain in which one layer, and so all that follow, does something else."""
    after = NAMES[NAMES.index(name) :]
    return warm(**{each: outputs(each, seed=seed) for each in after})


@pytest.mark.parametrize("name", ["conv1", "conv3", "fc1"])
def test_the_layer_that_was_reset_is_named(name):
    found = said("layer-changed", Pair(inside(of=reset(name), parent="old"), OLD))
    assert isinstance(found, Found)
    assert (found.layer, found.severity) == (name, Severity.NOTE)
    assert found.numbers["same_channels"] < 0.2
    assert "old" in found.sentence


def test_near_the_output_it_says_around():
    found = said("layer-changed", Pair(inside(of=reset("fc2"), parent="old"), OLD))
    assert found.sentence.startswith("Around fc2")


def test_a_reset_layer_is_found_without_a_word_about_the_start():
    assert said("layer-changed", Pair(inside(of=reset("conv3")), OLD)).layer == "conv3"


def with_branch(seed):
    """A probe with a branch before conv3, whose channels follow from the seed."""
    channels = np.random.default_rng(seed).normal(size=(6, 64)).astype(np.float32)
    branch = Branch("conv3.linear1", "conv3", np.ones(6, bool), channels)
    return replace(warm(seed=1), branches=(branch,))


def test_a_branch_that_was_reset_is_named_though_its_block_hides_it():
    old = replace(OLD, probe=with_branch(0))
    found = said("layer-changed", Pair(inside(of=with_branch(5), parent="old"), old))
    assert (found.layer, found.numbers["layers"]) == ("conv3.linear1", 1.0)
    assert said("layer-changed", Pair(inside(of=with_branch(0), parent="old"), old)) == Clear()


def test_a_plain_warm_retrain_is_clear():
    assert said("layer-changed", Pair(inside(of=warm(3), initial_weights="w"), OLD)) == Clear()


def test_earlier_warm_retrains_say_what_is_usual():
    chain = [OLD]
    for i in range(4):
        # Every retrain of this lineage moves a quarter of the channels of conv2.
        moved = outputs("conv2")
        moved[:, :7] = outputs("conv2", seed=70 + i)[:, :7]
        chain.append(
            inside(f"w{i}", warm(i, conv2=moved), initial_weights="w", final_weights=f"w{i}")
        )
    # All of them started from OLD, and so does the new one.
    moved = outputs("conv2")
    moved[:, :8] = outputs("conv2", seed=90)[:, :8]
    usual = Pair(inside(of=warm(8, conv2=moved), initial_weights="w"), OLD, tuple(chain[1:]))
    assert said("layer-changed", usual) == Clear()
    moved = moved.copy()
    moved[:, :14] = outputs("conv2", seed=91)[:, :14]
    more = replace(usual, new=inside(of=warm(8, conv2=moved), initial_weights="w"))
    found = said("layer-changed", more)
    assert found.layer == "conv2"
    assert found.numbers["warm_retrains"] == 4
    assert found.numbers["usual"] == pytest.approx(17 / 24, abs=0.05)


def test_another_start_needs_eight_healthy_runs():
    few = Pair(inside(of=healthy(50)), inside("old", healthy(60)), COLD[:5])
    for name in ("layer-changed", "group-lost", "concepts-shifted"):
        outcome = said(name, few)
        assert isinstance(outcome, Skipped)
        if name != "group-lost":
            assert "6 healthy runs" in outcome.reason


@pytest.mark.parametrize("seed", range(50, 56))
def test_healthy_retrains_from_another_start_are_clear(seed):
    pair = Pair(inside(of=healthy(seed)), inside("old", healthy(60)), COLD)
    assert said("layer-changed", pair) == Clear()
    assert said("concept-lost", pair) == Clear()


def test_a_collapsed_layer_stands_out_of_healthy_ones():
    pair = Pair(inside(of=healthy(50, conv3=nothing())), inside("old", healthy(60)), COLD)
    found = said("layer-changed", pair)
    assert (found.layer, found.severity) == ("conv3", Severity.NOTE)


def test_other_examples_are_not_compared():
    pair = Pair(inside(of=probe(digest="another"), parent="old"), OLD, COLD)
    for name in ("layer-changed", "group-lost", "concepts-shifted", "concept-lost"):
        outcome = said(name, pair)
        assert isinstance(outcome, Skipped)
        assert "not comparable" in outcome.reason


def test_without_a_predecessor_nothing_is_compared():
    evidence = run(probe=probe())
    results = {r.check: r.outcome for r in run_checks(evidence, MINE.values())}
    assert isinstance(results.pop("readout-gap"), Clear)
    assert all(isinstance(outcome, Skipped) for outcome in results.values())


def with_groups(of, rows):
    return replace(of, groups={"conv2": groups_of(of.layer("conv2"), rows)})


def test_a_pruned_group_is_lost_after_a_warm_retrain():
    values = outputs("conv2")
    rows = values[:, :4].T
    old = inside("old", with_groups(probe(), rows), final_weights="w")
    blind = values.copy()
    blind[:, 2:] = 0.0
    found = said("group-lost", Pair(inside(of=warm(conv2=blind), initial_weights="w"), old))
    assert found.layer == "conv2"
    assert found.numbers["r2"] < 0.6 < found.numbers["r2_before"]
    assert said("group-lost", Pair(inside(of=warm(), initial_weights="w"), old)) == Clear()


def test_a_group_that_no_restart_finds_again_is_not_judged():
    groups = groups_of(probe().layer("conv2"), outputs("conv2")[:, :4].T, stability=0.5)
    old = inside("old", replace(probe(), groups={"conv2": groups}), final_weights="w")
    outcome = said("group-lost", Pair(inside(of=warm(), initial_weights="w"), old))
    assert isinstance(outcome, Skipped)


def test_groups_against_healthy_runs():
    def clear(seed):
        return healthy(seed, fc1=outputs("fc1", seed=seed, signal=4.0, units=48))

    references = tuple(inside(f"h{i}", clear(i + 1)) for i in range(9))
    base = clear(60)
    groups = groups_of(base.layer("fc1"), ONE_HOT)
    old = inside("old", replace(base, groups={"fc1": groups}))
    same = Pair(inside(of=clear(50)), old, references)
    assert said("group-lost", same) == Clear()
    blind = healthy(50, fc1=nothing(units=48))
    found = said("group-lost", replace(same, new=inside(of=blind)))
    assert found.layer == "fc1"
    assert "9 healthy runs" in found.sentence


def test_labels_that_form_later_are_told_together():
    references = tuple(inside(f"h{i}", forming(i + 1)) for i in range(9))
    old = inside("old", forming(60))
    found = said("concepts-shifted", Pair(inside(of=forming(50, delay=2)), old, references))
    assert found.numbers["low"] > 0
    assert "later" in found.sentence
    assert f"{CLASSES} labels together" in found.sentence
    assert said("concepts-shifted", Pair(inside(of=forming(51)), old, references)) == Clear()


def test_a_network_that_knows_more_than_it_says():
    mute = probe(accuracy=0.3)
    found = said("readout-gap", Pair(inside(of=mute), OLD))
    assert found.layer == "fc2"
    assert found.numbers["gap"] > 0.3


def test_a_changed_graph_is_told_with_its_first_node():
    pair = Pair(inside(graph=changed(act={"kind": "Sigmoid"})), inside("old", graph=CHAIN))
    found = said("graph-changed", pair)
    assert (found.layer, found.severity) == ("act", Severity.NOTE)
    assert "ReLU became Sigmoid" in found.sentence
    assert said("graph-changed", replace(pair, new=inside(graph=CHAIN))) == Clear()
    assert isinstance(said("graph-changed", replace(pair, new=inside(graph=None))), Skipped)


def test_notes_become_warnings_where_something_backs_them():
    pair = Pair(inside(of=reset("conv3"), parent="old"), OLD)
    results = run_checks(failing(), pair=pair)
    before = {r.check: r.outcome.severity for r in results if isinstance(r.outcome, Found)}
    after = {
        r.check: r.outcome.severity for r in backed(results) if isinstance(r.outcome, Found)
    }
    assert before["layer-changed"] is Severity.NOTE
    assert after["layer-changed"] is Severity.WARNING
    assert set(before) == set(after)
    assert Severity.NOTE not in after.values()
    kept = {check: s for check, s in before.items() if s is not Severity.NOTE}
    assert kept.items() <= after.items()


def test_a_probe_of_nothing_is_survived():
    flat = probe({name: np.ones((EXAMPLES, 4)) for name in NAMES}, accuracy=float("nan"))
    for new, old in ((flat, flat), (flat, probe()), (probe(), flat)):
        pair = Pair(inside(of=new, parent="old"), inside("old", old), COLD)
        for name in MINE:
            said(name, pair)


def test_the_module_with_the_weights_is_named():
    new = reset("conv3")
    layers = tuple(
        replace(each, weights=f"net.{each.name}.weights") if each.name == "conv3" else each
        for each in new.layers
    )
    pair = Pair(inside(of=replace(new, layers=layers), parent="old"), OLD)
    assert said("layer-changed", pair).layer == "net.conv3.weights"
