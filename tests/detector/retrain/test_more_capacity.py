"""Would a larger network help? From retrains that differ in its size alone."""

from dataclasses import replace

import pytest
from tests.detector.checks.builders import run

from backslide.contract import Cause
from backslide_detector.evidence import ErrorRate
from backslide_detector.past import from_memory, to_memory
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.more_capacity import more_capacity


def retrain(number, weights, error, **config):
    return PastRun(
        f"r{number}", f"run {number}", float(number),
        error=ErrorRate("test", error, 10_000, "x"),
        made_from={
            Cause.DATA: {"train rows": "1000", "train content": "c"},
            Cause.CONFIG: {f"parameter {k}": str(v) for k, v in ({"lr": 0.1} | config).items()},
        },
        weights=weights,
    )  # fmt: skip


SMALL, LARGE = retrain(1, 10_000, 0.05, width=64), retrain(2, 40_000, 0.04, width=128)


def test_a_larger_network_that_helped_is_said_with_its_interval():
    said = more_capacity(LARGE, [SMALL])
    assert said.startswith("A larger network helped: with 40,000 weights in place of 10,000")
    assert "(width, nothing else)" in said
    assert "4.00 % instead of 5.00 % (95 % interval 1.5" in said


def test_the_order_of_the_two_does_not_matter():
    assert more_capacity(SMALL, [LARGE]) == more_capacity(LARGE, [SMALL])


def test_a_difference_within_luck_is_not_shown():
    near = retrain(2, 40_000, 0.0495, width=128)
    assert more_capacity(near, [SMALL]).startswith("That a larger network helps is not shown")
    worse = retrain(2, 40_000, 0.07, width=128)
    assert more_capacity(worse, [SMALL]).startswith("A larger network made it worse")


@pytest.mark.parametrize(
    "other",
    [
        retrain(1, 30_000, 0.05, width=64),  # hardly smaller
        retrain(1, None, 0.05, width=64),
        retrain(1, 10_000, 0.05, width=64, depth=3),  # says more than the other
        replace(SMALL, made_from={**SMALL.made_from, Cause.DATA: {"train rows": "500"}}),
        replace(SMALL, error=replace(SMALL.error, examples=5_000)),
        replace(SMALL, finished=False),
    ],
)
def test_a_retrain_that_differs_in_more_tells_nothing(other):
    assert more_capacity(LARGE, [other]) is None
    assert more_capacity(LARGE, [other, SMALL]) is not None


def test_two_parameters_at_once_tell_nothing_of_the_size():
    both = retrain(1, 10_000, 0.05, width=64, lr=0.2)
    assert more_capacity(LARGE, [both]) is None


def test_the_ledger_keeps_the_number_of_weights():
    remembered = PastRun.of(run())
    assert remembered.weights == 4 * 4_096
    (back,) = from_memory([to_memory(remembered)])
    assert back.weights == remembered.weights
