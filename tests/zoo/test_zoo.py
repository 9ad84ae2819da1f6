"""A few animals of the development half, end to end: real training, recording and reading."""

import pytest
from tests.zoo.cases import CASES
from tests.zoo.judging import Judged, judge
from tests.zoo.page import did_no_harm

from backslide_detector.checks.registry import load_checks

SAMPLE = (
    "development/units-buried/mlp-digits",
    "development/step-never-called/mlp-diabetes",
    "development/first-layer-frozen/mlp-cancer",
    "development/scaler-skips/residual-clusters",
)


@pytest.mark.parametrize("name", SAMPLE)
def test_the_zoo_is_told_apart(name):
    (case,) = [case for case in CASES if case.name == name]
    judged = judge(7, case, case.run(7))
    assert judged.well, judged


@pytest.mark.parametrize("half", ["development", "held-out"])
def test_every_check_of_one_run_has_a_case_that_should_carry_it_in_each_half(half):
    labels = {label for case in CASES if case.half == half for label in case.labels}
    assert labels == {check.name for check in load_checks() if check.family != "inside"}


def test_the_halves_share_no_world():
    development = {case.world for case in CASES if case.half == "development"}
    held_out = {case.world for case in CASES if case.half == "held-out"}
    assert not development & held_out
    assert len({case.name for case in CASES}) == len(CASES)


def ended(what: str, outcome: float | None, *, labels=("overfitting",), silent=False, seed=0):
    name = f"development/{what}/mlp-digits"
    return Judged(name, "development", seed, labels, silent, (), (), outcome)


def test_a_fault_did_no_harm_where_its_twin_of_the_same_seed_ended_as_badly():
    twin = ended("as-it-is", 0.05, labels=())
    mild, bad = ended("forty-examples", 0.07), ended("rate-of-ten", 0.09)
    assert did_no_harm([twin, mild, bad]) == [mild]
    assert did_no_harm([twin, ended("softmax-twice", 0.05, silent=True)]) == []
    assert did_no_harm([twin, ended("forty-examples", 0.05, seed=1)]) == []
    assert did_no_harm([twin, ended("generator-cut-off", None), ended("stalled", 0.05)]) == []
