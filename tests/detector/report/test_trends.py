"""The section about trends: what a reader sees of layers that fade, and of those that stay."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.report.story import JUDGEMENT, LINKS, history, run

from backslide_detector.evidence import Series
from backslide_detector.report.page import page
from backslide_detector.report.section import Absent
from backslide_detector.report.sections.trends import factor, trends

SNAPSHOTS = 200
SHARE = np.linspace(0.0, 1.0, SNAPSHOTS)


def layers(sizes, suffix=""):
    """A history with these decades of size, shape (SNAPSHOTS, layers)."""
    plain = history(sizes.shape[1], SNAPSHOTS, suffix=suffix)
    return replace(plain, rms=10.0**sizes)


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(-3.0, 0.1, (SNAPSHOTS, count))


def told(gradients, **changes):
    """The section for a run with these gradients and no activations."""
    given = replace(run("digits-2", seed=1), gradients=gradients, activations=None)
    if "rate" in changes:
        steps = np.arange(2_000)
        rate = Series(steps, changes["rate"](steps / 2_000), steps.astype(float))
        given = replace(given, series={**given.series, "lr": rate})
    return trends(JUDGEMENT, given, None)


def test_the_layer_that_fades_stands_on_top_with_its_numbers():
    sizes = noise(6)
    sizes[:, 4] -= 2.0 * np.maximum(SHARE - 0.5, 0.0)
    section = told(layers(sizes, ".weight"))
    assert "The gradients of 6 layers: 1 fade." in section.lead
    table = section.tables[0]
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert row["tensor"] == "blocks.4.conv.weight"
    assert row["trend"] == "falls"
    low, high = (float(part[1:]) for part in row["95 % interval"].split(" to "))
    assert low <= float(row["a 1,000 steps"][1:]) <= high < 1.0
    assert float(row["since step"].replace(",", "")) == pytest.approx(1_000, abs=200)
    assert {other[2] for other in table.rows[1:]} == {"none"}


def test_what_the_learning_rate_explains_is_said_to_be_none_of_the_layers():
    def cosine(share):
        return 0.5 * (1 + np.cos(np.pi * share)) + 1e-9

    at = np.arange(SNAPSHOTS) * 10 / 2_000
    sizes = noise(4) + 0.3 * np.log10(cosine(at))[:, None]
    assert "4 fade" in told(layers(sizes)).lead
    section = told(layers(sizes), rate=cosine)
    assert "none has a trend" in section.lead
    assert {row[2] for row in section.tables[0].rows} == {"none beyond the learning rate"}
    sizes[:, 1] -= 1.5 * at
    fading = told(layers(sizes), rate=cosine).tables[0].rows[0]
    assert fading[:1] + fading[2:3] == ("blocks.1.conv", "falls beyond the learning rate")


def test_a_rate_that_falls_all_the_while_may_be_the_cause():
    at = np.arange(SNAPSHOTS) * 10 / 2_000
    section = told(layers(noise(3) - at[:, None]), rate=lambda share: np.exp(-5 * share))
    assert "3 may only follow the learning rate" in section.lead
    assert {row[2] for row in section.tables[0].rows} == {
        "falls, confounded with the learning rate"
    }


def test_a_run_that_is_too_short_says_so():
    short = replace(history(3, 12), rms=np.full((12, 3), 0.1))
    section = told(short)
    assert "too short to tell trends of its gradients" in section.lead
    assert section.tables[0].rows[0][2] == "too short to tell"


def test_a_gradient_that_fades_towards_the_input_is_told_across_depth():
    section = told(layers(noise(8) + 0.5 * np.arange(8)))
    across = section.tables[1]
    assert across.rows[0][:2] == ("Conv2d", "8")
    assert float(across.rows[0][2][1:]) == pytest.approx(10**0.5, rel=0.05)


def test_without_sizes_there_is_no_section():
    unknown = np.full((40, 4), np.nan)
    assert isinstance(told(replace(history(4), rms=unknown)), Absent)
    assert isinstance(told(None), Absent)
    assert isinstance(told(replace(history(4), rms=np.zeros((40, 4)))), Absent)


def test_many_layers_are_drawn_in_part_and_all_in_the_table():
    section = told(layers(noise(30)))
    assert section.blocks[0].title == "Sizes of the gradients, 15 of 30 layers"
    assert len(section.tables[0].rows) == 30


def test_the_section_is_on_the_page_and_changes_no_verdict():
    new = replace(run("digits-2", seed=1), gradients=layers(noise(3) - SHARE[:, None]))
    shown = page(JUDGEMENT, new, None, LINKS)
    assert 'id="trends-title"' in shown
    assert "a 1,000 steps" in shown


@pytest.mark.parametrize(
    ("decades", "said"), [(0.0, "×1.00"), (-0.5, "×0.32"), (-4.0, "×1.0×10⁻⁴"), (3.0, "×1000")]
)
def test_decades_are_told_as_factors(decades, said):
    assert factor(decades) == said


def test_factors_stay_finite():
    assert factor(-1e6) == "×1.0×10⁻³⁰⁰"
    assert factor(1e6) == "×1.0×10³⁰⁰"
