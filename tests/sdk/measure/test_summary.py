"""Summaries against numpy on the same numbers, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backslide.contract import EXPONENT_MAX, EXPONENT_MIN, MAGNITUDE_BINS, ZERO_BIN
from backslide.measure.rows import Rows
from backslide.measure.spare import Spare
from backslide.measure.summary import SAMPLE, Summary, Units, strided
from backslide.measure.transfer import Scaled


def summarize(tensor: torch.Tensor, **options: object) -> Rows:
    summary = Summary()
    summary.add(0, tensor, **options)
    return summary.finish().rows()


def expected_histogram(values: np.ndarray) -> np.ndarray:
    """The bins of the contract, one element at a time."""
    bins = np.zeros(2 * MAGNITUDE_BINS + 1, np.int32)
    for value in values[np.isfinite(values)].astype(np.float64):
        if value == 0:
            bins[ZERO_BIN] += 1
            continue
        exponent = int(np.clip(np.floor(np.log2(abs(value))), EXPONENT_MIN, EXPONENT_MAX))
        place = 1 + exponent - EXPONENT_MIN
        bins[ZERO_BIN + place if value > 0 else ZERO_BIN - place] += 1
    return bins


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_moments_match_numpy(dtype):
    tensor = (torch.randn(300, 257, generator=torch.Generator().manual_seed(0)) * 3 + 1).to(
        dtype
    )
    rows = summarize(tensor)
    values = tensor.double().numpy()
    assert rows.count[0] == values.size
    np.testing.assert_allclose(rows.mean[0], values.mean(), rtol=1e-4)
    np.testing.assert_allclose(rows.std[0], values.std(), rtol=1e-4)
    np.testing.assert_allclose(rows.rms[0], np.sqrt((values**2).mean()), rtol=1e-4)
    assert rows.abs_max[0] == np.float32(np.abs(values).max())
    assert rows.nonfinite_fraction[0] == 0


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.integers(1, 200),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_small_tensors_are_exact_whatever_is_in_them(values):
    rows = summarize(torch.from_numpy(values.copy()))
    finite = values[np.isfinite(values)].astype(np.float64)
    np.testing.assert_array_equal(rows.histogram[0], expected_histogram(values))
    np.testing.assert_allclose(rows.nonfinite_fraction[0], 1 - finite.size / values.size)
    np.testing.assert_allclose(rows.zero_fraction[0], (values == 0).mean())
    if not finite.size:
        assert np.isnan(rows.mean[0])
        return
    scale = np.abs(finite).max()
    assert rows.abs_max[0] == scale
    np.testing.assert_allclose(rows.mean[0], finite.mean(), rtol=1e-3, atol=1e-5 * scale)
    np.testing.assert_allclose(rows.rms[0], np.sqrt(np.square(finite).mean()), rtol=1e-3)
    np.testing.assert_allclose(rows.std[0], finite.std(), rtol=1e-2, atol=1e-5 * scale)


def test_one_nan_in_a_million_is_counted():
    tensor = torch.randn(1_000_000)
    tensor[123_456] = float("nan")
    rows = summarize(tensor)
    assert rows.nonfinite_fraction[0] == pytest.approx(1e-6)
    assert rows.rms[0] == pytest.approx(1.0, rel=0.1)
    assert np.isnan(rows.square_sum[0])


def test_infinity_is_counted_and_moments_are_of_the_rest():
    rows = summarize(torch.tensor([1.0, -3.0, float("inf"), float("-inf")]))
    assert rows.nonfinite_fraction[0] == 0.5
    assert (rows.mean[0], rows.abs_max[0]) == (-1.0, 3.0)


def test_a_small_spread_around_a_large_mean_is_kept():
    values = torch.randn(4000, dtype=torch.float64) * 1e-3 + 1000
    rows = summarize(values.float())
    assert rows.std[0] == pytest.approx(values.float().double().std().item(), rel=1e-2)


def test_the_spread_of_a_small_tensor_is_exact_however_small_it_is():
    scales = 1 + 1e-3 * torch.randn(128, generator=torch.Generator().manual_seed(2))
    rows = summarize(scales)
    assert rows.std[0] == pytest.approx(scales.double().numpy().std(), rel=1e-6)


def test_snapshots_that_share_their_memory_do_not_share_numbers():
    spare, found = Spare(), []
    for turn in range(3):
        summary = Summary(turn, spare)
        for key, size in enumerate((10, 5_000)):
            summary.add(key, torch.full((size,), float(turn + 1)))
        found.append(summary.finish())  # on their way together
    for turn, transfer in enumerate(found):
        rows = transfer.rows()
        assert rows.mean.tolist() == rows.abs_max.tolist() == [turn + 1] * 2
        assert rows.histogram.sum(1).tolist() == [10, rows.histogram[1].max()]


def test_ones_have_no_spread():
    rows = summarize(torch.ones(512))
    assert (rows.mean[0], rows.std[0], rows.rms[0]) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize("scale", [1e-30, 1e-42, 1e25])
def test_what_float32_squares_cannot_hold_is_not_lost(scale):
    tensor = torch.full((1000,), scale)
    rows = summarize(tensor)
    assert rows.rms[0] == pytest.approx(tensor[0].item(), rel=1e-6)
    assert rows.zero_fraction[0] == 0


def test_channels_last_and_transposed_tensors_are_summarized_alike():
    tensor = torch.randn(4, 3, 8, 8)
    plain = summarize(tensor)
    for other in (tensor.to(memory_format=torch.channels_last), tensor.permute(3, 1, 0, 2)):
        rows = summarize(other)
        np.testing.assert_allclose(rows.rms, plain.rms, rtol=1e-6)
        np.testing.assert_array_equal(rows.histogram, plain.histogram)
    expanded = torch.tensor([1.0, 2.0]).expand(5, 2)
    assert summarize(expanded).mean[0] == 1.5


@pytest.mark.parametrize("shape", [(64, 4096), (128, 64, 32, 32), (3, 7, 11, 1301)])
def test_a_sample_does_not_march_in_step_with_a_dimension(shape):
    tensor = torch.zeros(shape)
    tensor[:, 0] = 1.0  # one channel in shape[1]
    share = 1 / shape[1]
    sample = strided(tensor.flatten(), 5)
    assert sample.numel() <= SAMPLE
    error = (share * (1 - share) / sample.numel()) ** 0.5
    assert sample.mean().item() == pytest.approx(share, abs=4 * error)


def test_successive_samples_differ():
    tensor = torch.arange(100_000.0)
    assert strided(tensor, 0)[0] != strided(tensor, 1)[0]


def test_calls_under_one_key_add_up_by_their_elements():
    summary = Summary()
    summary.add(7, torch.zeros(100))
    summary.add(7, torch.full((300,), 4.0))
    rows = summary.finish().rows()
    assert rows.keys.tolist() == [7]
    assert (rows.count[0], rows.mean[0], rows.abs_max[0]) == (400, 3.0, 4.0)
    assert rows.zero_fraction[0] == 0.25


def test_units_that_are_zero_throughout_are_inactive():
    images = torch.rand(8, 4, 5, 5) + 0.1
    images[:, 2] = 0
    assert summarize(images, units=Units(1)).active[0].tolist() == [True, True, False, True]
    tokens = torch.randn(8, 5, 3)
    tokens[..., 1] = 0
    tokens[0, 0, 1] = float("nan")  # not a number is not zero
    assert summarize(tokens, units=Units(-1)).active[0].all()


def test_saturated_units_are_those_that_stay_at_a_bound():
    output = torch.tanh(torch.linspace(-2, 2, 100)).repeat(3, 1).T.contiguous()
    output[:, 1] = 0.999
    output[::2, 2], output[1::2, 2] = -0.999, 0.999
    rows = summarize(output, units=Units(-1, bounds=(-1.0, 1.0)))
    assert rows.unsaturated[0].tolist() == [True, False, False]
    assert 0 not in rows.active


def test_a_sample_stands_for_the_whole():
    rows = summarize(torch.full((100,), 2.0), stands_for=1_000)
    assert (rows.count[0], rows.mean[0], rows.square_sum[0]) == (1_000, 2.0, 4_000.0)


def test_scaled_gradients_are_divided_and_skipped_steps_left_out():
    summary = Summary()
    taken = Scaled(torch.tensor(1024.0), torch.tensor(0.0))
    skipped = Scaled(torch.tensor(1024.0), torch.tensor(1.0))
    summary.add(0, torch.full((10,), 2048.0), scaled=taken)
    summary.add(1, torch.full((10,), float("inf")), scaled=skipped)
    rows = summary.finish().rows()
    assert rows.keys.tolist() == [0]
    assert (rows.mean[0], rows.rms[0], rows.abs_max[0]) == (2.0, 2.0, 2.0)
    np.testing.assert_array_equal(rows.histogram[0], expected_histogram(np.full(10, 2.0)))


@pytest.mark.parametrize(
    "tensor", [torch.empty(0), torch.arange(5), torch.empty(3, device="meta")]
)
def test_tensors_without_numbers_are_passed_over(tensor):
    assert summarize(tensor).keys.size == 0


def test_the_tensor_may_change_afterwards():
    summary = Summary()
    tensor = torch.ones(10)
    summary.add(0, tensor)
    tensor.zero_()
    rows = summary.finish().rows()
    assert (rows.mean[0], rows.zero_fraction[0]) == (1.0, 0.0)
