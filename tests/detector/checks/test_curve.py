"""Where a loss began: with what it was before the first step, if it shot up for good."""

import numpy as np
import pytest
from tests.detector.checks.builders import series

from backslide_detector.checks.curve import curve


def test_a_loss_that_shot_up_began_with_its_first_value():
    rng = np.random.default_rng(0)
    away = 10 ** rng.uniform(2.5, 5, 399)  # wilder than any rise
    assert curve(series([4.9, *away])).initial == pytest.approx(4.9)


@pytest.mark.parametrize("seed", range(20))
def test_one_lucky_first_batch_is_no_beginning(seed):
    values = np.random.default_rng(seed).lognormal(0.0, 1.0, 400)
    values[0] = 0.03
    assert curve(series(values)).initial > 0.1
