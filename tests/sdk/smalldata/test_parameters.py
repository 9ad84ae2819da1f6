"""Parameters that stay where they are, for a reason or by mistake."""

import pytest
from torch import nn

from backslide.smalldata.parameters import Watch, without_effect


@pytest.mark.parametrize(("rate", "stuck"), [(0.05, False), (0.0, True)])
def test_a_bias_in_front_of_batch_norm_need_not_move_while_others_do(rate, stuck):
    # Its gradient is zero but for rounding, and sometimes exactly so.
    bias = nn.Linear(3, 2).bias
    watch = Watch()
    watch.arrived |= {"bias"}
    watch.nonzero |= {"bias"}
    watch.norms["bias"] = 0.0
    watch.rate = rate

    found = without_effect([("bias", bias)], watch, steps=8)

    assert [defect.cause for defect in found] == (["not-moving"] if stuck else [])
