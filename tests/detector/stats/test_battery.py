"""Every public statistic on awkward input: a finite answer or a ValueError, nothing else.

The table must name every public function of the package, which the last test checks.
"""

import dataclasses
import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest

from backslide_detector import stats
from backslide_detector.stats import (
    alarm,
    calibration_error,
    change_point,
    changes_apart,
    comparison,
    creep,
    dispersion,
    domain_classifier,
    equivalence,
    history_regression,
    kitagawa,
    label_shift,
    learning_curve,
    linearised,
    mann_kendall,
    mcnemar,
    multiplicity,
    newcombe_paired,
    online,
    paired_means,
    power,
    predictive,
    quasi_mcnemar,
    shapley,
    shelf_life,
    tango,
    unpaired,
    unpaired_means,
)

MILLION = 1_000_000
NAN = math.nan
EMPTY: list[float] = []
ROW = [0.5]
CONSTANT = [0.25] * 50
HUGE = np.linspace(0.0, 1.0, MILLION)
PRIOR = quasi_mcnemar.overdispersion([])
FLIPS = [(0, 0, 1), (1, 0, 1), (0, 1, 1), (5, 5, 10), (0, 0, MILLION), (MILLION, 0, MILLION),
         (40_000, 60_000, MILLION), (-1, 0, 10), (6, 6, 10), (0, 0, 0)]  # fmt: skip
PAIRS = [(b, c) for b, c, _ in FLIPS]
TWO_RATES = [(0, 1, 0, 1), (1, 1, 0, 1), (1, 1, 1, 1), (0, MILLION, 0, 3), (2, 1, 0, 1),
             (300_000, MILLION, 0, MILLION), (MILLION, MILLION, MILLION, MILLION),
             (0, 0, 0, 1), (-1, 5, 0, 5)]  # fmt: skip
SERIES = [
    (EMPTY,),
    (ROW,),
    (CONSTANT,),
    ([0.1, NAN],),
    ([math.inf, 1.0, 2.0],),
    (HUGE[:5_000],),
]
TWO_SERIES = [(a, a) for (a,) in SERIES] + [(ROW, EMPTY), (HUGE, HUGE[::-1])]
a, b = frozenset(["a"]), frozenset[str]()

BATTERY = {
    mcnemar.mcnemar: FLIPS,
    mcnemar.exact_pvalue: PAIRS,
    mcnemar.exact_pvalues: [*PAIRS, (EMPTY, EMPTY), ([1, -1], [0, 0])],
    mcnemar.midp_pvalue: [*PAIRS, (EMPTY, EMPTY), ([1, -1], [0, 0])],
    tango.tango_interval: FLIPS,
    tango.tango_intervals: [([b], [c], [n]) for b, c, n in FLIPS] + [(EMPTY, EMPTY, EMPTY)],
    tango.score_limits: [(*flips, z) for flips in FLIPS[:7] for z in (0.0, 2.0, 50.0)],
    newcombe_paired.newcombe_paired_interval: [(n, b, c, 0) for b, c, n in FLIPS],
    unpaired.unpaired_difference: TWO_RATES,
    unpaired.newcombe_interval: TWO_RATES,
    unpaired.boschloo_pvalue: [(0, 1, 0, 1), (1, 1, 0, 1), (50, 50, 0, 50)],
    unpaired.fisher_midp_pvalue: TWO_RATES[:4],
    equivalence.equivalence_level: [(0.05,), (0.0,), (NAN,)],
    equivalence.inside: [((-1.0, 1.0), 0.5), ((NAN, NAN), 0.5), ((0.0, 0.0), 0.0)],
    power.mde_paired: [(1, 0.0), (MILLION, 1.0), (0, 0.1), (10, NAN), (10, 1.5)],
    power.mde_unpaired: [(1, 1, 0.0), (MILLION, 1, 1.0), (0, 1, 0.1), (10, 10, NAN)],
    power.mcnemar_power: [(1, 0.5, 0.0), (MILLION, 0.03, 0.03), (10, 0.1, 0.2), (10, NAN, 0)],
    predictive.predictive_interval: [(s, p) for (s,) in SERIES for p in (0.0, 0.1, NAN, -1.0)],
    predictive.pooled_spread: [([s], 0.1) for (s,) in SERIES] + [(EMPTY, 0.0)],
    quasi_mcnemar.overdispersion: SERIES,
    quasi_mcnemar.quasi_mcnemar: [(*flips, PRIOR) for flips in FLIPS],
    quasi_mcnemar.quasi_pvalue: [(*flips, PRIOR) for flips in PAIRS],
    power.mde_mean: [((-1.0, 1.0),), ((0.0, 0.0),), ((NAN, 1.0),), ((1.0, -1.0),)],
    power.standard_error: [((-1.0, 1.0),), ((0.0, 0.0),), ((NAN, 1.0),), ((1.0, -1.0),)],
    paired_means.paired_mean_difference: TWO_SERIES,
    unpaired_means.unpaired_mean_difference: TWO_SERIES,
    linearised.macro_f1_terms: [(EMPTY, EMPTY), ([0], [0]), ([0, 1], [5, 5]), ([0.5], [0.5]),
                                ([-1], [0]), ([10**9], [0]), ([0] * MILLION, [1] * MILLION)],
    linearised.rmse_terms: SERIES,
    linearised.r2_terms: TWO_SERIES,
    linearised.calibration_terms: TWO_SERIES,
    linearised.auc_terms: [([1, 0], [0.5, 0.5]), ([1], [0.5]), ([0, 1], [NAN, 1.0]),
                           ([1, 0], [0.5]), (EMPTY, EMPTY), ([0, 1] * (MILLION // 2), HUGE)],
    domain_classifier.domain_classifier: [
        ([[1.0]] * 4, [1, 1, 0, 0], [0, 0, 1, 1]), ([[1.0], [2.0]] * 4, [1] * 8, [1] * 8),
        ([[0.0], [1e300]] * 4, [1, 0] * 4, [0, 1] * 4), (EMPTY, EMPTY, EMPTY),
        ([[NAN]] * 4, [1, 1, 0, 0], [0, 0, 1, 1]), (np.zeros((9, 0)), [1] * 9, [1] * 9),
        ([[1.0]], [1], [0]), (np.eye(9), [1] * 5 + [0] * 4, [0] * 5 + [1] * 4),
    ],
    kitagawa.kitagawa_split: [(EMPTY,) * 4, ([1], [2], [1], [1]), ([NAN],) * 4, ([0, 5], [0, 1],
                              [3, 0], [1, 0]), ([MILLION], [0], [1], [1])],
    multiplicity.holm: SERIES,
    multiplicity.benjamini_hochberg: SERIES,
    alarm.flip_e_value: PAIRS,
    change_point.date_change: SERIES,
    changes_apart.changes_apart_pvalue: [(one, other) for one in FLIPS for other in FLIPS[:4]],
    creep.detect_creep: SERIES,
    creep.grown: [(-np.inf, np.zeros(3)), (np.full(3, 1e4), np.full(3, -1e4))],
    dispersion.carried_over: [(1.0,), (1e9,)],
    dispersion.expected_phi: [(dispersion.Dispersion(*shown),) for shown in
                              ((0.0, 0), (0.0, 9), (1e9, 1), (-1.0, 3), (NAN, 1))],
    dispersion.lineage_phi: [(dispersion.Dispersion(*own), dispersion.Dispersion(*rest))
                             for own in ((0.0, 0), (5.0, 3)) for rest in ((0.0, 0), (1e9, 1))],
    creep.self_starting: SERIES,
    creep.shift_detector: [(EMPTY,), (ROW,), ([8.0] * 1_000,), ([-8.0] * 1_000,)],
    history_regression.fewest_retrains: [(0,), (9,)],
    history_regression.history_regression: [
        (EMPTY, EMPTY), (ROW, [[1.0]]), (CONSTANT, [[1.0]] * 50), (CONSTANT, [[NAN]] * 50),
        (CONSTANT, np.eye(50)[:, :3]), (range(50), np.c_[range(50), range(50)]),
        (HUGE[:5_000], np.c_[HUGE[:5_000] ** 2, -HUGE[:5_000] ** 2]),
        (CONSTANT, np.zeros((50, 0))), ([1e300] * 49 + [0.0], np.eye(50)[:, :2]),
        (CONSTANT, 1e149 * np.eye(50)[:, :2]), ([1e149] * 49 + [0.0], np.eye(50)[:, :2]),
        (CONSTANT, 1e-300 * np.eye(50)[:, :2]),
    ],
    shapley.cells: [((),), (("a",),), (("a", "b", "c"),)],
    shapley.shapley_weights: [(("a",), "a"), (("a", "b", "c"), "b")],
    shapley.interaction_weights: [(("a", "b"), ("a", "b")), (("a", "b", "c"), ("a", "c"))],
    shapley.attribute: [({},), ({b: 1.0},), ({b: 1.0, a: 2.0},), ({b: NAN, a: 1.0},)],
    shelf_life.shelf_life: [(1, 0.5, 0.5), (MILLION, 0.03, 0.5), (0, 0.1, 0.1), (9, NAN, 0.1)],
    learning_curve.learning_curve: [
        (EMPTY, EMPTY, EMPTY), ([1, 2], [0.5, 0.5], [1, 1]), ([1, 2], [NAN, 0.5], [1, 1]),
        ([1, 1], [0, 0], [1, 1]), ([1, 10**9], [0.0, 1.0], [1e-12, 1e-12]),
        ([10, 20] * 9, [0.1, 0.2] * 9, [1] * 18), ([0, 2], [0, 0], [1, 1]),
        (np.arange(1, 9), HUGE[:8], np.full(8, 1e-300)), ([1, 2], [1e200, 0.0], [1, 1]),
    ],
    mann_kendall.mann_kendall: [*TWO_SERIES, (HUGE, HUGE, HUGE), (HUGE[:40], CONSTANT[:40]),
                                ([5.0] * 50, CONSTANT), ([0.0, 1e300] * 20, CONSTANT[:40]),
                                (HUGE[:50], [1e200] * 50, CONSTANT)],
    mann_kendall.layer_trends: [(EMPTY, np.zeros((0, 3))), (EMPTY, np.zeros((0, 0))),
                                (HUGE[:50], np.ones((50, 2))), (HUGE[:50], np.ones((5, 2))),
                                (HUGE[:50], np.full((50, 2), NAN)), (ROW, ROW)],
    mann_kendall.depth_slope: [*TWO_SERIES[:5], (HUGE[:99], HUGE[:99]), (CONSTANT, CONSTANT)],
    calibration_error.expected_calibration_error: TWO_SERIES,
    calibration_error.bins_of: TWO_SERIES,
    label_shift.label_shift: [({}, {}), ({"a": 1}, {"a": 1}), ({"a": 0}, {"a": 1}),
                              ({"a": 10**9, "b": 0}, {"a": 10**9, "b": 0})],
}  # fmt: skip
NO_STATISTIC = {comparison.require_counts, comparison.require_share}
CASES = [
    pytest.param(statistic, arguments, id=f"{statistic.__name__}-{number}")
    for statistic, calls in BATTERY.items()
    for number, arguments in enumerate(calls)
]


def numbers(answer):
    """All numbers in an answer, however deep."""
    if dataclasses.is_dataclass(answer):
        return numbers([getattr(answer, field.name) for field in dataclasses.fields(answer)])
    if isinstance(answer, dict):
        return numbers(list(answer.values()))
    if isinstance(answer, list | tuple):
        return [number for part in answer for number in numbers(part)]
    if isinstance(answer, np.ndarray):
        return answer.ravel().tolist()
    return [answer] if isinstance(answer, int | float) else []


KEYWORDS = {learning_curve.learning_curve: {"at": 100.0}}


@pytest.mark.parametrize(("statistic", "arguments"), CASES)
def test_awkward_input_gives_an_answer_or_a_value_error(statistic, arguments):
    try:
        answer = statistic(*arguments, **KEYWORDS.get(statistic, {}))
    except ValueError as error:
        assert str(error)  # noqa: PT017 -- either outcome is right
        return
    # Odds ratios and t statistics may be undefined or infinite; nothing else may.
    if isinstance(answer, comparison.Comparison):
        answer = dataclasses.replace(answer, statistic=0.0)
    if statistic is not creep.detect_creep:
        assert all(math.isfinite(number) for number in numbers(answer))
    again = statistic(*arguments, **KEYWORDS.get(statistic, {}))
    if isinstance(again, comparison.Comparison):
        again = dataclasses.replace(again, statistic=0.0)
    assert numbers(answer) == numbers(again)


@pytest.mark.parametrize("flips", FLIPS[:7])
def test_an_interval_of_flips_holds_its_estimate(flips):
    result = mcnemar.mcnemar(*flips)
    assert -1 <= result.interval[0] <= result.effect <= result.interval[1] <= 1
    assert 0 <= result.pvalue <= 1


def test_the_battery_names_every_public_statistic():
    public = set()
    for module in pkgutil.iter_modules(stats.__path__):
        loaded = importlib.import_module(f"{stats.__name__}.{module.name}")
        public |= {
            function
            for name, function in inspect.getmembers(loaded, inspect.isfunction)
            if not name.startswith("_") and function.__module__ == loaded.__name__
        }
    assert public == set(BATTERY) | NO_STATISTIC
    assert online.OnlineTest  # a class with state, which test_streams.py tests
