"""Every public statistic on awkward input: a finite answer or a documented error."""

import math
from functools import partial

import pytest

from backslide_detector.stats.mcnemar import exact_pvalue, mcnemar, midp_pvalue
from backslide_detector.stats.newcombe_paired import newcombe_paired_interval
from backslide_detector.stats.power import mcnemar_power, mde_paired, mde_unpaired
from backslide_detector.stats.predictive import predictive_interval
from backslide_detector.stats.tango import tango_interval
from backslide_detector.stats.unpaired import newcombe_interval, unpaired_difference

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("broken", "fixed", "n"),
    [(0, 0, 1), (1, 0, 1), (0, 1, 1), (5, 5, 10), (0, 0, 10**9), (10**9, 0, 10**9),
     (40_000, 60_000, MILLION)],
)  # fmt: skip
def test_paired_statistics_survive(broken, fixed, n):
    result = mcnemar(broken, fixed, n)
    low, high = result.interval
    assert -1 <= low <= result.effect <= high <= 1
    assert 0 <= result.pvalue <= 1
    assert math.isfinite(result.statistic)
    newcombe = newcombe_paired_interval(n - broken - fixed, broken, fixed, 0)
    assert -1 <= newcombe[0] <= newcombe[1] <= 1


@pytest.mark.parametrize(
    ("wrong_new", "n_new", "wrong_old", "n_old"),
    [(0, 1, 0, 1), (1, 1, 0, 1), (1, 1, 1, 1), (0, MILLION, 0, 3),
     (300_000, MILLION, 0, MILLION), (MILLION, MILLION, MILLION, MILLION)],
)  # fmt: skip
def test_unpaired_statistics_survive(wrong_new, n_new, wrong_old, n_old):
    result = unpaired_difference(wrong_new, n_new, wrong_old, n_old)
    low, high = result.interval
    assert low <= result.effect + 1e-12
    assert result.effect - 1e-12 <= high
    assert 0 <= result.pvalue <= 1


IMPOSSIBLE = (
    (mcnemar, (-1, 0, 10)),
    (mcnemar, (6, 6, 10)),
    (mcnemar, (0, 0, 0)),
    (exact_pvalue, (-1, 2)),
    (midp_pvalue, ([1, -1], [0, 0])),
    (partial(tango_interval, level=1.0), (1, 1, 10)),
    (partial(tango_interval, level=math.nan), (1, 1, 10)),
    (newcombe_paired_interval, (-1, 1, 1, 1)),
    (newcombe_interval, (2, 1, 0, 1)),
    (unpaired_difference, (0, 0, 0, 1)),
    (predictive_interval, ([], 0.1)),
    (predictive_interval, ([1.0, math.nan], 0.1)),
    (predictive_interval, ([1.0], math.nan)),
    (mde_paired, (0, 0.1)),
    (mde_paired, (10, math.nan)),
    (mde_unpaired, (10, 10, 1.5)),
    (mcnemar_power, (10, 0.1, 0.2)),
)


@pytest.mark.parametrize(("statistic", "arguments"), IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_impossible_input_is_a_value_error(statistic, arguments):
    with pytest.raises(ValueError, match=r"."):
        statistic(*arguments)
