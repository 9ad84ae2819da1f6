"""Retrain noise: repeats, then the history, then the fleet, shrunk to a prior."""

import math

import pytest
from scipy import stats

from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.noise import compare_recipes, repeats_of
from backslide_detector.stats.dispersion import (
    LINEAGES,
    NO_REPEATS,
    Dispersion,
    expected_phi,
    lineage_phi,
)

N, FLIPS = 10_000, 0.03


def past(name, rate, started=0.0, **extra):
    return PastRun(name, name, started, error=ErrorRate("test", rate, N, "x"), **extra)


NEW, OLD = past("new", 0.036, 9.0, recipe="b"), past("old", 0.030, 8.0, recipe="a")


def test_repeats_count_in_units_of_independent_flips():
    """By hand: two errors 0.002 apart, sum of squares 2e-6 over 0.03 / 20,000."""
    pair = [past("1", 0.030, recipe="r"), past("2", 0.032, recipe="r", flips=FLIPS)]
    shown = repeats_of([*pair, past("3", 0.09, recipe="s", flips=FLIPS), past("4", 0.09)])
    assert shown.df == 1
    assert shown.squares == pytest.approx(2e-6 / 1.5e-6)
    blind = [past("1", 0.030, recipe="r"), past("2", 0.032, recipe="r")]
    assert repeats_of(blind) == NO_REPEATS, "flips that nobody counted are no measure"


def test_a_lineage_without_a_past_is_held_against_the_fleet():
    alone = compare_recipes(NEW, OLD, [], discordant=FLIPS)
    assert alone.estimand.interval is None
    fleet = Dispersion(squares=40.0, df=20)  # phi 2
    phi, weight = (4 * 1.3 + 40) / 24, 1 / (1 / LINEAGES + 1 / 24)
    assert expected_phi(fleet) == pytest.approx((phi, weight))
    told = compare_recipes(NEW, OLD, [], discordant=FLIPS, fleet=fleet).estimand
    z = 0.006 * N / math.sqrt(phi * FLIPS * N)
    assert told.pvalue == pytest.approx(2 * stats.t.sf(z, weight))
    assert (told.n, "other lineages" in told.method) == (20, True)
    unpaired = compare_recipes(NEW, OLD, [], discordant=None, fleet=fleet).estimand
    assert unpaired.interval is None


def test_repeats_come_before_the_history_and_the_history_before_the_fleet():
    fleet = Dispersion(squares=400.0, df=20)
    history = [past(f"h{n}", 0.030 + n * 1e-4, float(n)) for n in range(6)]
    repeats = [past(f"r{n}", 0.030 + n * 1e-4, float(n), recipe="r") for n in range(4)]

    def method(runs):
        return compare_recipes(NEW, OLD, runs, discordant=FLIPS, fleet=fleet).estimand.method

    assert "seed repeats, shrunk" in method([*history, *repeats])
    assert "accepted retrains" in method(history)
    # A noisy fleet widens what little is known here, and less what is known well.
    quiet = compare_recipes(NEW, OLD, history, discordant=FLIPS).spread.sd
    noisy = compare_recipes(NEW, OLD, history, discordant=FLIPS, fleet=fleet).spread.sd
    assert noisy > quiet


def test_the_alert_channel_takes_flips_for_independent_until_repeats_say_otherwise():
    assert lineage_phi(NO_REPEATS, NO_REPEATS) == 1.0
    assert lineage_phi(NO_REPEATS, Dispersion(200.0, 100)) == pytest.approx(1.97, abs=0.01)
    assert lineage_phi(Dispersion(4.0, 4), Dispersion(200.0, 100)) < 1.97
    assert lineage_phi(Dispersion(0.1, 50), NO_REPEATS) == 1.0
