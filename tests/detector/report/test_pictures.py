"""What the pictures are made of: numbers, colours and places."""

import struct
import zlib
from base64 import b64decode
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backslide.contract import EXPONENT_MIN, HISTOGRAM_BINS, MAGNITUDE_BINS, ZERO_BIN
from backslide_detector.evidence import Predictions, Series
from backslide_detector.report.outcomes import answers, outcomes
from backslide_detector.report.phrases import (
    between,
    magnitude,
    number,
    percent,
    points,
    shorten,
)
from backslide_detector.report.pictures import png, svg
from backslide_detector.report.pictures.columns import (
    MOST,
    columns,
    magnitudes,
    median_exponent,
)
from backslide_detector.report.pictures.curves import thinned
from backslide_detector.report.pictures.scale import Scale, fitted, label


def counts_of(*values: float) -> np.ndarray:
    """The contract's histogram of a few values, written out by hand."""
    histogram = np.zeros(HISTOGRAM_BINS, np.int32)
    for value in values:
        if value == 0:
            histogram[ZERO_BIN] += 1
            continue
        place = int(
            np.clip(np.floor(np.log2(abs(value))) - EXPONENT_MIN, 0, MAGNITUDE_BINS - 1)
        )
        histogram[ZERO_BIN + 1 + place if value > 0 else ZERO_BIN - 1 - place] += 1
    return histogram


def test_magnitudes_drop_the_sign_and_the_zeros():
    folded = magnitudes(counts_of(4.0, -4.5, -(2.0**-40), 0.0, 0.0))
    assert folded[2 - EXPONENT_MIN] == 2
    assert folded[0] == 1
    assert folded.sum() == 3


def test_median_exponent_is_that_of_the_values():
    rng = np.random.default_rng(0)
    values = rng.lognormal(-5, 1.5, 4000) * rng.choice([-1, 1], 4000)
    expected = np.log2(np.median(np.abs(values)))
    assert median_exponent(counts_of(*values, 0.0)) == pytest.approx(expected, abs=0.05)


def test_median_of_nothing_but_zeros_is_unknown():
    assert np.isnan(median_exponent(counts_of(0.0, 0.0)))
    assert np.isnan(median_exponent(np.zeros((2, HISTOGRAM_BINS), np.int32))).all()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=400, unique=True))
def test_columns_use_every_snapshot_once_and_hold_the_last(steps):
    ordered = np.array(sorted(steps))
    grid = columns(ordered)
    assert 1 <= len(grid.spans) <= MOST
    covered = {i for start, stop in grid.spans for i in range(start, stop)}
    assert covered == set(range(len(ordered)))
    assert all(start < stop for start, stop in grid.spans)
    assert all(a[0] <= b[0] for a, b in zip(grid.spans, grid.spans[1:], strict=False))


def test_a_peak_of_one_snapshot_survives_the_thinning():
    values = np.zeros((5000, 1))
    values[1234] = 1.0
    assert columns(np.arange(5000)).highest(values).max() == 1.0


def test_png_holds_the_cells_and_the_palette():
    cells = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    data = b64decode(
        png.data_uri(cells, [(1, 2, 3, 4), (5, 6, 7, 8), png.NOTHING]).partition(",")[2]
    )
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        (check,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        assert check == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (3, 2)
    assert chunks[b"PLTE"] == bytes([1, 2, 3, 5, 6, 7, 0, 0, 0])
    assert chunks[b"tRNS"] == bytes([4, 8, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(2, 4)
    assert (rows[:, 1:] == cells).all()


def test_colour_steps_cover_the_range_and_leave_the_unknown_out():
    steps = png.levels(np.array([[-5.0, 0.0, 1.0, 9.0, np.nan]]), 0.0, 1.0)
    assert steps.tolist() == [[0, 0, png.LEVELS - 1, png.LEVELS - 1, png.LEVELS]]


def test_a_log_axis_appears_with_two_decades():
    assert fitted(np.array([0.01, 1.0]), 0, 1).log
    assert not fitted(np.array([0.011, 1.0]), 0, 1).log
    assert not fitted(np.array([0.0, 1000.0]), 0, 1).log


@given(
    st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6),
    st.floats(1e-6, 1e6),
)
def test_ticks_lie_on_the_axis_in_order(low, size):
    scale = Scale(low, low + size, 0.0, 100.0)
    ticks = scale.ticks()
    assert ticks == sorted(ticks)
    assert len(ticks) <= 7
    slack = 1e-6 * max(size, abs(low))
    assert all(low - slack <= tick <= low + size + slack for tick in ticks)


def test_ticks_are_labelled_with_few_digits():
    scale = Scale(0.0, 40.0, 0, 1)
    assert [label(tick, scale) for tick in scale.ticks(4)] == ["0", "10", "20", "30", "40"]
    logs = Scale(1e-4, 1.0, 0, 1, log=True)
    assert [label(tick, logs) for tick in logs.ticks(5)] == [
        "10⁻⁴",
        "10⁻³",
        "10⁻²",
        "10⁻¹",
        "10⁰",
    ]


def test_lines_break_where_there_is_no_value():
    x = np.arange(5.0)
    drawn = svg.polyline(x, np.array([1.0, 2.0, np.nan, 4.0, 5.0]), "curve")
    assert drawn.count("M") == 2
    assert "nan" not in drawn


def test_children_are_escaped_unless_they_are_drawings():
    assert svg.tag("text", "<b>") == "<text>&lt;b&gt;</text>"
    assert svg.tag("g", svg.tag("path", d="M0 0")) == '<g><path d="M0 0"/></g>'
    assert svg.tag("text", "x", class_='"><script>') == (
        '<text class="&#34;&gt;&lt;script&gt;">x</text>'
    )


def test_curves_keep_the_range_and_say_where_values_broke():
    steps = np.arange(1000)
    values = np.sin(steps / 10.0)
    values[500:] = np.inf
    line = thinned(Series(steps, values, steps.astype(float)))
    assert np.nanmax(line.high) == values[:500].max()
    assert line.broken.tolist() == steps[500:].tolist()
    assert np.isnan(line.middle[-1])


def test_mlflow_infinity_counts_as_infinite():
    steps = np.arange(3)
    line = thinned(Series(steps, np.array([1.0, 1.797e308, 2.0]), steps.astype(float)))
    assert line.broken.tolist() == [1.0]


def predictions(ids: str, targets: str, said: str) -> Predictions:
    right = np.array([a == b for a, b in zip(targets, said, strict=True)])
    return Predictions(*(np.array(list(text), object) for text in (ids, targets, said)), right)


def test_fixed_and_broken_are_counted_on_common_examples_in_any_order():
    old = predictions("dcbaz", "2211x", "2111x")  # c is wrong
    new = predictions("abcdy", "1122x", "1221y")  # b and d are wrong, c is fixed
    seen = outcomes(new, old)
    assert seen is not None
    assert seen.common == 4
    rows = {row.label: row for row in seen.classes}
    assert (rows["1"].fixed, rows["1"].broken) == (0, 1)
    assert (rows["2"].fixed, rows["2"].broken) == (1, 1)
    assert (rows["1"].old_error, rows["1"].new_error) == (0.0, 0.5)
    assert seen.mistakes == (("1", "2", 1), ("2", "1", 1))


def test_without_common_examples_nothing_is_fixed_or_broken():
    seen = outcomes(predictions("ab", "11", "12"), predictions("cd", "11", "11"))
    assert seen is not None
    assert seen.classes[0].fixed is None
    assert seen.classes[0].old_error == 0.0


def test_numbers_before_words_among_classes():
    seen = outcomes(predictions("abcd", "9b1a", "9b1a"), None)
    assert seen is not None
    assert [row.label for row in seen.classes] == ["1", "9", "a", "b"]


def test_regression_has_no_classes():
    values = np.array([0.5, 1.5], object)
    table = Predictions(np.array(["a", "b"], object), values, values, np.array([True, True]))
    judgement = SimpleNamespace(retrain=SimpleNamespace(split="test"))
    run = SimpleNamespace(error=None, predictions={"test": table})
    assert answers(judgement, run, None) == "The predictions are numbers, not classes."
    labels = SimpleNamespace(error=None, predictions={"test": predictions("ab", "11", "11")})
    assert answers(judgement, labels, labels).old is labels.predictions["test"]
    assert answers(judgement, labels, run).old is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (percent(0.03), "3.0 %"),
        (percent(0.0004), "0.04 %"),
        (percent(None), "unknown"),
        (points(0.0123), "+1.23 points"),
        (points(-0.005), "−0.5 points"),
        (points(0.005, signed=False), "0.5 points"),
        (between(-0.003, 0.0141), "−0.30 to +1.41 points"),
        (number(float("nan")), "NaN"),
        (number(-float("inf")), "−infinite"),
        (number(12345), "12,345"),
        (magnitude(3.21e-5), "3.2×10⁻⁵"),
        (magnitude(0.0123), "0.012"),
        (shorten("one two three", 9), "one two…"),
    ],
)
def test_numbers_read_well(said, expected):
    assert said == expected
