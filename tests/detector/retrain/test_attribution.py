"""Extra runs that settle a cause, and the evidence that streams are fed."""

import numpy as np
import pytest

from backslide.contract import Cause
from backslide_detector.judgement import Estimand
from backslide_detector.retrain.attribution import missing_runs, named, reruns
from backslide_detector.retrain.spending import one_sided
from backslide_detector.stats.mcnemar import exact_pvalue

DATA, CONFIG, CODE, ENVIRONMENT = Cause.DATA, Cause.CONFIG, Cause.CODE, Cause.ENVIRONMENT


def test_two_changed_kinds_need_two_more_runs():
    assert {run.new for run in missing_runs([DATA, CODE])} == {
        frozenset([DATA]), frozenset([CODE]),
    }  # fmt: skip
    assert [run.why for run in missing_runs([DATA, CODE], [frozenset([CODE])])] == [
        "new data, old code"
    ]


def test_one_changed_kind_needs_seeds_only():
    assert missing_runs([DATA]) == ()
    assert "fresh seeds" in reruns()[0]


def test_three_kinds_are_a_factorial_and_four_are_halved():
    assert len(missing_runs([DATA, CONFIG, CODE])) == 6
    halves = [run.new for run in missing_runs([DATA, CONFIG, CODE, ENVIRONMENT])]
    assert len(halves) == 2
    assert halves[0] | halves[1] == {DATA, CONFIG, CODE, ENVIRONMENT}
    assert not halves[0] & halves[1]
    with pytest.raises(ValueError, match="noise"):
        missing_runs([Cause.NOISE])


def test_the_main_factor_is_named_and_quiet_ones_are_not():
    random = np.random.default_rng(0)
    hits, false = 0, 0
    for _ in range(400):
        cells = [
            frozenset(k for k, on in zip((DATA, CONFIG, CODE), bits, strict=True) if on)
            for bits in np.ndindex(2, 2, 2)
        ]
        noise = dict(zip(cells, random.normal(0, 0.00122, 8), strict=True))
        guilty = named({c: 0.035 + 0.004 * (DATA in c) + noise[c] for c in cells},
                       seed_sd=0.00122)[1]  # fmt: skip
        hits += DATA in guilty
        false += bool({CONFIG, CODE} & set(guilty))
    assert hits >= 0.95 * 400
    assert false <= 0.07 * 400


def test_streams_get_exact_one_sided_evidence():
    paired = one_sided(Estimand(effect=0.005, pvalue=0.004, fixed=125, broken=175))
    assert paired.worse == exact_pvalue(175, 125, "greater")
    assert paired.better == exact_pvalue(175, 125, "less")
    assert one_sided(Estimand(effect=-0.1, pvalue=0.02)).better == pytest.approx(0.01)
    assert one_sided(Estimand(effect=-0.1, pvalue=0.02)).worse == pytest.approx(0.99)
    assert one_sided(Estimand()) is None
