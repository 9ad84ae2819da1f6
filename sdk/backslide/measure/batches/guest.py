"""Running a model for a probe: what is written, in the precision of the weights, unnoticed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from backslide.measure.batches.undisturbed import evaluation
from backslide.measure.instruments.names import compiled


@contextmanager
def guest(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model in evaluation mode, eager, without autocast, whatever is around.

    Args:
        model: left as it was.
        device: where it runs.
    """
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(evaluation(model, devices))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        # The fast path of torch's transformers passes by the modules inside.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
