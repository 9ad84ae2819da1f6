"""A unit is dead only when a whole window of batches says so."""

import numpy as np

from backslide.measure.units import WINDOW, UnitWindows


def flags(*active: int) -> np.ndarray:
    return np.array(active, bool)


def test_never_active_is_inactive_from_the_first_batch():
    assert UnitWindows().inactive(0, flags(1, 0)).tolist() == [False, True]


def test_one_quiet_batch_kills_nobody():
    windows = UnitWindows()
    windows.inactive(0, flags(1, 1))
    assert windows.inactive(0, flags(0, 1)).tolist() == [False, False]


def test_a_unit_dies_after_the_window_and_wakes_at_once():
    windows = UnitWindows()
    windows.inactive(0, flags(1, 1))
    quiet = [windows.inactive(0, flags(0, 1))[0] for _ in range(WINDOW)]
    assert quiet == [False] * (WINDOW - 1) + [True]
    assert not windows.inactive(0, flags(1, 1))[0]


def test_tensors_do_not_mix():
    windows = UnitWindows()
    windows.inactive(0, flags(1))
    assert windows.inactive(1, flags(0)).tolist() == [True]


def test_another_number_of_units_starts_anew():
    windows = UnitWindows()
    windows.inactive(0, flags(1, 1))
    assert windows.inactive(0, flags(0, 0, 1)).tolist() == [True, True, False]
