"""Learning rates, as the step that is about to be taken uses them."""

from torch import Tensor
from torch.optim import Optimizer

from backslide.contract import Metric


def learning_rates(optimizer: Optimizer, first: int) -> dict[str, float]:
    """The rate of each parameter group, by metric key; none that would have to be waited for.

    Args:
        optimizer: about to take a step.
        first: number of its first group, where groups have no names.
    """
    rates: dict[str, float] = {}
    for number, group in enumerate(optimizer.param_groups, first):
        rate = group.get("lr")
        if rate is None or (isinstance(rate, Tensor) and rate.device.type != "cpu"):
            continue
        rates[f"{Metric.LEARNING_RATE}/{group.get('name', number)}"] = float(rate)
    return rates
