"""The budget holds, on a clock that is only numbers."""

import math
from itertools import pairwise
from random import Random

import pytest

from backslide.measure.cadence import GRACE_SECONDS, LONGEST, Cadence


def simulate(
    cadence: Cadence, steps: int, step_time: float, price: float, *, rests: bool = False
) -> list[int]:
    """Runs a job whose steps take `step_time` and whose snapshots cost `price` seconds.

    With `rests` the cadence is not asked for as long as it says.
    """
    sampled, due, rest, passed = [], True, 0, 0
    for step in range(steps):
        passed += 1
        if rest and not due:
            rest -= 1
            continue
        cost = price if due else 1e-6
        if due:
            sampled.append(step)
        seconds = passed * step_time + cost
        due = cadence.step(seconds, cost, price if due else None, steps=passed)
        rest, passed = cadence.rest if rests and not due else 0, 0
    return sampled


def test_every_step_when_no_budget_is_set():
    assert simulate(Cadence(None), 500, 0.01, 1.0) == list(range(500))


def test_batches_come_with_all_snapshots_of_a_budget_and_thin_out_without_one():
    """One in each of the first 133 steps, then one in so many as have a 67th of the steps."""
    for cadence, price in (Cadence(None), 0.0), (Cadence(0.01), 1e-4), (Cadence(0.01), 0.01):
        batches, due = [], True
        for step in range(5_000):
            if due and cadence.wants_batch():
                batches.append(step)
            elif due:
                assert cadence.aim is None
            due = cadence.step(0.01 + price * due, price * due, price if due else None)
        assert batches[:50] == list(range(50))
        assert len(batches) < 133 + 1.1 * 67 * math.log(5_000 / 133)


def test_a_short_run_is_seen_densely():
    sampled = simulate(Cadence(0.01), 300, 0.01, 0.005)
    assert sampled[:50] == list(range(50))
    assert 100 <= len(sampled) <= 200


@pytest.mark.parametrize("price", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("overhead", [0.01, 0.05])
def test_the_budget_holds(price, overhead):
    cadence = Cadence(overhead)
    sampled = simulate(cadence, 30_000, 0.05, price)
    forced = price * 30_000 / LONGEST
    assert cadence.spent <= max(GRACE_SECONDS, overhead * cadence.elapsed, forced) + price + 0.1
    assert max(b - a for a, b in pairwise(sampled)) <= LONGEST


@pytest.mark.parametrize(("price", "step_time"), [(0.005, 0.01), (0.02, 0.05), (10.0, 0.001)])
def test_a_cadence_that_is_seldom_asked_says_the_same(price, step_time):
    always, seldom = Cadence(0.01), Cadence(0.01)
    expected = simulate(always, 20_000, step_time, price)
    found = simulate(seldom, 20_000, step_time, price, rests=True)
    assert found[:60] == expected[:60]
    assert len(found) == pytest.approx(len(expected), rel=0.05)
    assert max(b - a for a, b in pairwise(found)) <= LONGEST
    assert seldom.spent <= max(1.02 * always.spent, GRACE_SECONDS + price)


def test_what_the_scalars_of_steps_cost_that_it_was_not_told_of_is_their_usual_price():
    cadence = Cadence(0.01)
    for seconds in (5e-5, 5e-5, 9.0):  # one was interrupted
        cadence.scalars(seconds)
    before = cadence.kept
    cadence.step(10.0, 0.0, steps=1_001)
    assert cadence.kept - before == pytest.approx(0.05)
    assert cadence.steps == 1_001


def test_what_scalars_cost_is_taken_from_the_share_and_not_from_the_grace():
    cadence, sampled, due = Cadence(0.01), 0, True
    for _ in range(100_000):
        cost = 0.005 if due else 1e-6
        sampled += due
        cadence.kept += 5e-5  # half a percent
        due = cadence.step(0.01 + cost, cost, cost if due else None)
    assert cadence.share <= 0.01
    assert 300 <= sampled <= 1_000


def test_what_no_clock_sees_of_a_sampled_step_is_part_of_the_budget():
    cadence, chance, truth, due = Cadence(0.005), Random(1), 0.0, True
    for step in range(1_600):
        if step == 400:  # all that is free is gone
            truth = cadence.kept = 0.0
            cadence.spent, cadence.elapsed = 2.0, 2.0 / cadence.aim
            began = cadence.elapsed
        cost, unseen = (0.009, 0.007) if due else (1e-6, 0.0)
        training = 0.09 * chance.uniform(0.9, 1.1)
        truth += cost + unseen
        due = cadence.step(training + cost + unseen, cost, cost if due else None)
    assert 0.003 <= truth / (cadence.elapsed - began) <= 0.005


@pytest.mark.parametrize(("steps", "price"), [(500, 0.04), (900, 0.05), (3_000, 0.05)])
def test_a_dear_look_leaves_some_of_the_grace_for_the_rest_of_a_short_run(steps, price):
    sampled = simulate(Cadence(0.01), steps, 0.005, price)
    assert sampled[:10] == list(range(10))
    assert max(b - a for a, b in pairwise([*sampled, steps])) <= steps / 2


def test_a_crowded_machine_costs_no_snapshots():
    cadence = Cadence(0.01)
    cadence.ran(0.1, 0.4)  # of four seconds of watching it had a processor for one
    crowded = simulate(cadence, 300, 0.04, 0.02)
    assert crowded == simulate(Cadence(0.01), 300, 0.01, 0.005)


def test_at_least_one_snapshot_in_a_thousand_steps_whatever_it_costs():
    sampled = simulate(Cadence(0.01), 5_000, 0.001, 10.0)
    assert max(b - a for a, b in pairwise(sampled)) <= LONGEST
    assert len(sampled) >= 5


def test_a_larger_budget_is_used_when_snapshots_are_dear():
    assert len(simulate(Cadence(0.2), 5_000, 0.05, 0.5)) > len(
        simulate(Cadence(0.02), 5_000, 0.05, 0.5)
    )


def test_intervals_keep_no_time_with_a_period():
    late = [step for step in simulate(Cadence(0.01), 20_000, 0.05, 0.01) if step > 1_000]
    for period in (2, 4, 8, 10):
        hit = {step % period for step in late}
        assert hit == set(range(period))


def test_the_same_run_is_sampled_in_the_same_way():
    assert simulate(Cadence(0.01), 2_000, 0.01, 0.01) == simulate(
        Cadence(0.01), 2_000, 0.01, 0.01
    )


@pytest.mark.parametrize("overhead", [0, -0.1, 1, 2.0])
def test_overhead_is_a_fraction(overhead):
    with pytest.raises(ValueError, match="fraction"):
        Cadence(overhead)
