"""Trends of layers inside a run, sampled as the SDK samples it."""

from functools import lru_cache

import numpy as np
from benchmarks.calibrate.rates import known, rate
from scipy.signal import lfilter
from scipy.stats import kendalltau

from backslide.measure.cadence import Cadence
from backslide_detector.stats.mann_kendall import (
    Answer,
    depth_slope,
    layer_trends,
    mann_kendall,
)

TIMES, TIMES_NETWORKS = 400, 60
LENGTHS = (300, 1_000, 5_000, 20_000)
MEMORIES = (0.0, 0.6, 0.9, 0.95, 0.98)
STEPS = 5_000
SPREAD = 0.15  # decades that a layer's gradient varies by from batch to batch


@lru_cache
def sampled(steps):
    """The steps of a run that the SDK looks at."""
    cadence, taken, looking = Cadence(0.01), [0], True
    for step in range(1, steps):
        looking = cadence.step(0.02, 2e-4 * looking, 2e-4 if looking else None)
        taken += [step] if looking else []
    return np.array(taken)


def noise(random, rho, steps, columns=1):
    """AR(1) of standard deviation 1 from its start on, shape (steps, columns)."""
    fresh = random.standard_normal((steps, columns)) * np.sqrt(1 - rho**2)
    before = random.standard_normal((1, columns))
    return lfilter([1.0], [1.0, -rho], fresh, axis=0, zi=rho * before)[0]


def schedules():
    """Learning rates over the share of a run that is done."""
    done = np.arange(STEPS) / STEPS
    warm = np.minimum(1.0, (done + 1e-4) / 0.1)
    cosine = 0.5 * (1 + np.cos(np.pi * done))
    return {
        "constant": np.ones(STEPS),
        "warm-up over a tenth": warm,
        "cosine to zero": cosine,
        "warm-up and cosine": warm
        * 0.5
        * (1 + np.cos(np.pi * np.clip(done - 0.1, 0, 1) / 0.9)),
        "linear to zero": 1 - done,
        "one cycle": np.interp(done, [0.0, 0.3, 1.0], [0.04, 1.0, 1e-4]),
        "ten cycles": np.interp(done * 10 % 1, [0.0, 0.5, 1.0], [0.01, 0.1, 0.01]),
        "one step down": np.where(done < 0.5, 1.0, 0.1),
        "three steps down": 0.1 ** np.floor(4 * done),
        "exponential": np.exp(-5 * done),
    }


def trendless():
    """Series without a trend: autocorrelated, and random walks."""
    name = "Trends: autocorrelated series without one, sampled as the SDK does"
    random = np.random.default_rng(700)
    for steps in LENGTHS:
        when = sampled(steps)
        for rho in (*MEMORIES, 1.0):
            answers, naive = [], 0
            for _ in range(TIMES):
                if rho < 1.0:
                    series = noise(random, rho, steps)[when, 0]
                else:
                    series = random.standard_normal(steps).cumsum()[when]
                answers.append(mann_kendall(when, series).answer)
                naive += kendalltau(when, series).pvalue < 0.05
            said = f"rho {rho:g}" if rho < 1.0 else "random walk"
            case = f"{steps:,} steps, {len(when)} samples, {said}"
            yield rate(
                name, case, "called a trend", answers.count(Answer.TREND), TIMES, at_most=0.05
            )
            yield rate(name, case, "too short", answers.count(Answer.TOO_SHORT), TIMES)
            yield rate(name, case, "plain Mann-Kendall, for comparison", naive, TIMES)


def scheduled():
    """Gradients that go with the rate to the power of 0.3, with and without a fade."""
    name = f"Trends: gradients under a schedule of the learning rate, {STEPS:,} steps, rho 0.9"
    random = np.random.default_rng(701)
    when, done = sampled(STEPS), np.arange(STEPS) / STEPS
    for schedule, rates in schedules().items():
        for fade in (0.0, 0.5):
            answers, held, naive = [], 0, 0
            for _ in range(TIMES):
                values = SPREAD * noise(random, 0.9, STEPS)[:, 0] - fade * done
                values += 0.3 * np.log10(rates)
                found = mann_kendall(when, values[when], np.log(rates[when]))
                answers.append(found.answer)
                held += found.interval[0] * STEPS <= -fade <= found.interval[1] * STEPS
                naive += mann_kendall(when, values[when]).answer is Answer.TREND
            trends, unclear = answers.count(Answer.TREND), answers.count(Answer.CONFOUNDED)
            case = f"{schedule}, " + (f"fade of {fade:g} decades" if fade else "no fade")
            if fade:
                yield rate(name, case, "called a trend (power)", trends, TIMES)
            else:
                yield rate(name, case, "called a trend", trends, TIMES, at_most=0.05)
                yield rate(name, case, "the same without the learning rate", naive, TIMES)
            yield rate(name, case, "confounded", unclear, TIMES)
            if not unclear:
                yield rate(name, case, "interval holds the slope", held, TIMES)


def fading():
    """Power for fades of several sizes."""
    name = (
        f"Trends: power for a straight fade of a layer's gradient (spread {SPREAD:g} decades)"
    )
    random = np.random.default_rng(702)
    for steps in (300, 5_000):
        when, done = sampled(steps), np.arange(steps) / steps
        for rho in (0.6, 0.9):
            for fade in (0.1, 0.3, 1.0):
                found = [
                    mann_kendall(
                        when, (SPREAD * noise(random, rho, steps)[:, 0] - fade * done)[when]
                    ).answer
                    for _ in range(TIMES)
                ]
                case = f"{steps:,} steps, rho {rho:g}, fade of {fade:g} decades"
                yield rate(name, case, "called a trend", found.count(Answer.TREND), TIMES)
                yield rate(name, case, "too short", found.count(Answer.TOO_SHORT), TIMES)


def networks():
    """Whole networks: how often is any layer flagged, and how many of the flagged are false?"""
    name = f"Trends: networks of many layers, Benjamini-Hochberg at 0.05, {STEPS:,} steps"
    random = np.random.default_rng(703)
    when, done = sampled(STEPS), np.arange(STEPS) / STEPS
    for layers, fading_layers, common in ((500, 0, 0.0), (500, 0, 0.5), (60, 6, 0.5)):
        flagged, false, real = 0, [], []
        for _ in range(TIMES_NETWORKS):
            own = noise(random, 0.9, STEPS, layers) * np.sqrt(1 - common)
            values = SPREAD * (own + np.sqrt(common) * noise(random, 0.9, STEPS))
            values[:, :fading_layers] -= 0.5 * done[:, None]
            found = np.array(
                [t.answer is Answer.TREND for t in layer_trends(when, values[when])]
            )
            flagged += found.any()
            false.append(found[fading_layers:].sum() / max(found.sum(), 1))
            real.append(found[:fading_layers].sum())
        case = f"{layers} layers, {fading_layers} fading, {common:.0%} of the noise in common"
        if fading_layers:
            yield known(name, case, "share of false ones among the flagged", np.mean(false))
            share = sum(real), TIMES_NETWORKS * fading_layers
            yield rate(name, case, "fading layers flagged", *share)
        else:
            yield rate(name, case, "any flagged", flagged, TIMES_NETWORKS, at_most=0.05)


def depths():
    """Sizes that do not depend on depth, and such that do."""
    name = "Trends: across depth, independent layers of one type (spread 0.3 decades)"
    random = np.random.default_rng(704)
    for layers in (5, 8, 24, 48):
        for slope in (0.0, -0.1):
            found = [
                depth_slope(
                    np.arange(layers),
                    10 ** (slope * np.arange(layers) + 0.3 * random.standard_normal(layers)),
                )
                for _ in range(TIMES)
            ]
            trends = sum(trend.answer is Answer.TREND for trend in found)
            held = sum(trend.interval[0] <= slope <= trend.interval[1] for trend in found)
            case = f"{layers} layers, {slope:g} decades a layer"
            target = None if slope else 0.05
            yield rate(name, case, "called a slope", trends, TIMES, at_most=target)
            yield rate(name, case, "interval holds the slope", held, TIMES)
