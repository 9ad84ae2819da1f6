"""Streams of retrains: online tests, the alert channel, creep, shelf-life.

"onlineFDR": levels printed in the documentation of that Bioconductor package for its sample
p-values with random=FALSE.
"""

import math

import numpy as np
import pytest
from online_fdr.p_values import Addis, Lond, LordPlusPlus
from scipy import stats

from backslide_detector.stats.alarm import CAUTION, MEMORY, SHIFTS, FlipAlarm, flip_e_value
from backslide_detector.stats.creep import detect_creep, self_starting, shift_detector
from backslide_detector.stats.online import OnlineTest, Procedure
from backslide_detector.stats.shelf_life import shelf_life

SAMPLE = [2.90e-8, .06743, .01514, .08174, .00171, 3.6e-5, .79149, .27201, .28295, 7.59e-8,
          .69274, .30443, .00136, .72342, .54757]  # fmt: skip


def rejections(spent):
    return [test.number for test in spent if test.rejected]


def test_lord_levels():
    spent = OnlineTest(Procedure.LORD).spend_all(SAMPLE)
    assert [test.level for test in spent[:10]] == pytest.approx(
        [.0002675839, .0024664457, .0005732818, .0004872805, .0004059066, .0003447286,
         .0029745013, .0008450114, .0007305648, .0006243143], rel=1e-6,
    )  # fmt: skip  # onlineFDR
    assert rejections(spent) == [1, 6, 10]


def test_lord_levels_without_a_rejection():
    # Computed from onlineFDR's gamma sequence, alpha 0.05, initial wealth 0.005.
    levels = [1e5 * test.level for test in OnlineTest(Procedure.LORD).spend_all([1.0] * 10)]
    assert levels == pytest.approx(
        [26.7584, 5.81910, 4.95625, 4.12180, 3.49443, 3.02295, 2.65972, 2.37261, 2.14047,
         1.94913], rel=1e-5,
    )  # fmt: skip


def test_addis_levels():
    spent = OnlineTest(Procedure.ADDIS).spend_all(SAMPLE)
    levels = [spent[i - 1].level for i in (1, 2, 6, 7, 9, 10)]
    assert levels == pytest.approx(
        [.002734314, .005468627, .010937254, .016405881, .005411923, .002828822], rel=1e-6
    )  # fmt: skip  # onlineFDR
    assert rejections(spent) == [1, 5, 6, 10, 13]


def test_lond_levels():
    spent = OnlineTest(Procedure.LOND).spend_all(SAMPLE)
    levels = [spent[i - 1].level for i in (1, 2, 7)]
    assert levels == pytest.approx(
        [0.0026758385, 0.0011638206, 0.0007979166], rel=1e-6
    )  # onlineFDR


LIBRARY = {
    Procedure.ADDIS: lambda: Addis(alpha=0.05, wealth=0.025, lambda_=0.25, tau=0.5),
    Procedure.LORD: lambda: LordPlusPlus(alpha=0.05, wealth=0.005),
    Procedure.LOND: lambda: Lond(alpha=0.05),
}


@pytest.mark.parametrize("procedure", Procedure)
def test_levels_are_those_of_the_library(procedure):
    """Its methods take one test after the other; so do ours where none overlap."""
    random, method = np.random.default_rng(7), LIBRARY[procedure]()
    pvalues = np.where(random.random(300) < 0.2, random.random(300) ** 6, random.random(300))
    expected = []
    for pvalue in pvalues.tolist():
        rejected = method.test_one(pvalue)
        expected.append((method.last_test_level, rejected))
    spent = OnlineTest(procedure).spend_all(pvalues.tolist())
    assert [test.level for test in spent] == pytest.approx([level for level, _ in expected])
    assert [test.rejected for test in spent] == [rejected for _, rejected in expected]


@pytest.mark.parametrize("procedure", [Procedure.ADDIS, Procedure.LORD])
def test_an_open_test_brings_no_reward(procedure):
    """By hand: with all open, each level is that of a stream in which nothing was found."""
    test, spent = OnlineTest(procedure), []
    for pvalue in [1e-9, 0.9, 1e-9, 0.3]:
        spent.append(test.spend(pvalue, spent))
    blank = OnlineTest(procedure)
    worst = [blank.spend(0.4).level for _ in spent]
    assert [answer.level for answer in spent] == pytest.approx(worst)
    assert [answer.rejected for answer in spent] == [True, False, True, False]
    # Once all have ended, the rewards are there.
    assert test.spend(0.9).level > 10 * worst[-1]


@pytest.mark.parametrize("procedure", Procedure)
def test_what_is_open_never_raises_a_level(procedure):
    random = np.random.default_rng(8)
    for _ in range(20):
        test, spent = OnlineTest(procedure), []
        for pvalue in (random.random(40) ** 3).tolist():
            known = OnlineTest(procedure, state=test.dump()).spend(pvalue)
            begun = int(random.integers(0, len(spent) + 1))
            spent.append(test.spend(pvalue, spent[begun:]))
            assert 0 < spent[-1].level <= known.level


@pytest.mark.parametrize("procedure", Procedure)
def test_a_stream_goes_on_where_it_was_stored(procedure):
    whole = OnlineTest(procedure).spend_all(SAMPLE)
    first = OnlineTest(procedure)
    first.spend_all(SAMPLE[:7])
    second = OnlineTest(procedure, state=first.dump())
    assert second.spend_all(SAMPLE[7:]) == whole[7:]


@pytest.mark.parametrize("state", ["[]", "{}", "null", "no json"])
def test_a_foreign_state_is_refused(state):
    with pytest.raises(ValueError, match=r"."):
        OnlineTest(state=state)
    with pytest.raises(ValueError, match=r"."):
        OnlineTest(Procedure.ADDIS, state=OnlineTest(Procedure.LORD).dump())


@pytest.mark.parametrize("pvalue", [-0.1, 1.1, math.nan])
def test_an_impossible_pvalue_spends_nothing(pvalue):
    test = OnlineTest()
    with pytest.raises(ValueError, match="p-value"):
        test.spend(pvalue)
    assert test.spend(0.5).number == 1


def test_e_values_of_flips():
    # Computed by numerical integration and by the incomplete beta function.
    assert flip_e_value(16, 6) == pytest.approx(4.80340, abs=5e-6)
    assert flip_e_value(175, 125) == pytest.approx(9.34398, abs=5e-6)
    assert flip_e_value(150, 150) == pytest.approx(0.0721799, abs=5e-8)
    assert math.isfinite(flip_e_value(10**6, 0))


@pytest.mark.parametrize("discordant", [0, 1, 7, 60])
def test_e_values_have_mean_one_when_nothing_is_wrong(discordant):
    broken = np.arange(discordant + 1)
    weights = stats.binom.pmf(broken, discordant, 0.5)
    values = [flip_e_value(int(b), int(discordant - b)) for b in broken]
    assert weights @ values == pytest.approx(1.0)
    alarms = [FlipAlarm().after(int(b), int(discordant - b)).value for b in broken]
    assert weights @ alarms * CAUTION <= 1.0 + 1e-9  # Hoeffding 1963


def test_the_alarm_keeps_its_run_length_on_fresh_examples():
    random = np.random.default_rng(3)
    times = []
    for _ in range(20):
        alarm, time = FlipAlarm(), 0
        while alarm.value < 20 and time < 120:
            broken = int(random.binomial(300, 0.5))
            alarm, time = alarm.after(broken, 300 - broken), time + 1
        times.append(time)
    # The guarantee is a mean of 20 or more; the standard error of this mean is below 20 %.
    assert np.mean(times) > 20


def test_one_retrain_is_a_mixture_of_likelihood_ratios_of_its_score():
    # By hand: N(s / 1, 2) against N(0, 2) for a score of 50 / sqrt(150), each shift s alike.
    score = 50 / math.sqrt(150)
    by_hand = np.mean([math.exp(s * score / 2 - s**2 / 4) for s in SHIFTS]) / CAUTION
    assert FlipAlarm().after(175, 125).value == pytest.approx(by_hand)
    half = FlipAlarm().after(175, 125, phi=4.0)
    assert half.scores[0] == pytest.approx(score / 2)
    assert FlipAlarm().after(125, 175).improvement == pytest.approx(by_hand)
    assert FlipAlarm().value == FlipAlarm().improvement == 0.0
    with pytest.raises(ValueError, match="phi"):
        FlipAlarm().after(1, 1, phi=0.5)


def retrained(alarm, luck, count, yardstick, random):
    """Retrains of which nothing is wrong, against a reference with luck on 150 flips a side."""
    shift = luck * math.sqrt(150) / 600
    for _ in range(count):
        broken = int(random.binomial(300, 0.5 + shift))
        alarm = alarm.after(broken, 300 - broken, yardstick=yardstick)
    return alarm


def test_a_lucky_reference_alarms_on_fresh_examples_only():
    """Two standard deviations of luck: on one test set they are the level, and no evidence."""
    one = retrained(FlipAlarm(), 2.0, 60, "its answers", np.random.default_rng(1))
    assert one.value < 100
    fresh = retrained(FlipAlarm(), 2.0, 60, None, np.random.default_rng(1))
    assert fresh.value > 1_000


def test_a_plain_regression_alarms_and_is_left_out_of_what_is_known_of_the_level():
    alarm = retrained(FlipAlarm(), 1.0, 30, "its answers", np.random.default_rng(2))
    quiet = alarm.scores
    while alarm.value < 1_000:
        alarm = alarm.after(200, 100, yardstick="its answers")
    assert len(alarm.scores) - len(quiet) <= 2
    watched = alarm.watched()
    assert (watched.alarmed, watched.leads) == (True, False)
    anew = watched.then
    assert (anew.scores, anew.settled, anew.value) == (quiet, 30, 0.0)
    again = anew.after(200, 100, yardstick="its answers")
    assert again.value > 100, "what was known of the level still counts"
    assert math.isfinite(FlipAlarm().after(10**6, 0).after(10**6, 0).value)


def test_a_lineage_that_got_better_is_held_against_its_new_self():
    alarm = retrained(FlipAlarm(), 0.0, 10, "its answers", np.random.default_rng(2))
    assert alarm.watched().then == alarm
    while not alarm.watched().leads:
        alarm = alarm.after(100, 200, yardstick="its answers")
    assert len(alarm.scores) <= 12
    assert alarm.watched().then == FlipAlarm()


def test_a_long_lineage_costs_no_more_memory():
    alarm = FlipAlarm()
    for _ in range(MEMORY + 10):
        alarm = alarm.after(150, 150, yardstick="its answers")
    assert len(alarm.scores) == len(alarm.yardsticks) == MEMORY


SERIES = [3.52, 3.41, 3.60, 3.47, 3.55, 3.50, 3.95]


def test_self_starting_scores():
    # Computed once from the definition with scipy's distributions.
    expected = [.857429, -.316936, .500234, -.117204, 3.165166]  # fmt: skip
    assert self_starting(SERIES) == pytest.approx(expected, abs=5e-7)
    detector = shift_detector(self_starting(SERIES))
    assert detector == pytest.approx(
        [1.184345, 1.235878, 2.223599, 2.317592, 38.874484], abs=5e-6
    )


def test_self_starting_scores_are_standard_normal_in_control():
    random = np.random.default_rng(4)
    scores = [self_starting(random.normal(0.035, 0.0012, 12)) for _ in range(2_000)]
    flat = np.concatenate(scores)
    assert stats.kstest(flat, "norm").pvalue > 0.001
    lagged = np.corrcoef([s[:-1] for s in scores], rowvar=False)
    assert np.abs(lagged[np.triu_indices_from(lagged, 1)]).max() < 0.1


def test_creep_is_found_where_neighbours_look_alike():
    random = np.random.default_rng(5)
    noise = random.normal(3.5, 0.122, (200, 140))
    quiet = [detect_creep(row[:100]).alarm for row in noise]
    assert np.mean([alarm is not None for alarm in quiet]) <= 0.15  # 0.08 in the reference
    creeping = noise.copy()
    creeping[:, 100:] += 0.05 * np.arange(1, 41)
    delays = [
        alarm - 99
        for row in creeping
        if (alarm := detect_creep(row).alarm) is not None and alarm >= 100
    ]
    assert np.median(delays) <= 8


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_short_series_have_no_scores(values):
    assert len(self_starting(values)) == 0
    assert detect_creep(values).alarm is None


def test_constant_series_and_steps_out_of_them_are_finite():
    assert self_starting([0.1] * 9) == pytest.approx([0.0] * 7)
    stepped = self_starting([0.1] * 9 + [0.2])
    assert 3 < stepped[-1] <= 8
    assert np.all(np.isfinite(shift_detector([8.0] * 1_000)))
    with pytest.raises(ValueError, match="finite"):
        self_starting([1.0, math.nan, 2.0])
    with pytest.raises(ValueError, match="run length"):
        detect_creep([1.0], run_length=0.0)


def test_shelf_life_counts_down():
    # By hand: 10,000 * 0.01^2 / (0.06 + 0.00667) = 15.0; less ln(40): 11.31 nats, 16.3 bits.
    fresh = shelf_life(10_000, 0.03, 0.01)
    assert (fresh.adaptive, fresh.left) == (16, 16)
    assert fresh.planned == pytest.approx(math.exp(15.0 - math.log(40)), rel=0.001)
    assert shelf_life(10_000, 0.03, 0.01, uses=20).left == -4
    assert shelf_life(100, 0.03, 0.005).adaptive == 0
    with pytest.raises(ValueError, match="uses"):
        shelf_life(100, 0.03, 0.005, uses=-1)
