"""A few animals of the development half, end to end: real training, recording and reading."""

import pytest
from tests.zoo.cases import CASES
from tests.zoo.judging import judge

from backslide_detector.checks import load_checks

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
