"""How wide modules are, and how much work a forward pass is, about."""

from collections.abc import Sequence

from torch import nn

from backslide.measure.instruments.names import WHOLE
from backslide.measure.probe.calls import Call

LOOKED_UP = (nn.Embedding, nn.EmbeddingBag)


def work(calls: Sequence[Call], rows: int) -> int:
    """Multiplications by weights for one example, about: weights times places.

    Args:
        calls: of one forward pass.
        rows: its examples.
    """
    total = 0
    for call in calls:
        if not call.leaf or call.output is None or isinstance(call.module, LOOKED_UP):
            continue
        weights = sum(each.numel() for each in call.module.parameters())
        places = call.output.numel() / rows / (channels_of(call.module) or 1)
        total += int(weights * max(1.0, places))
    return total


def channels_of(module: nn.Module) -> int | None:
    """Channels that come out of a module with weights."""
    if isinstance(module, nn.RNNBase):
        size = module.proj_size or module.hidden_size
        return size * (2 if module.bidirectional else 1)
    if isinstance(module, WHOLE):
        return int(module.embed_dim)
    for name in (
        "out_channels",
        "out_features",
        "num_channels",
        "num_features",
        "embedding_dim",
    ):
        if isinstance(width := getattr(module, name, None), int):
            return width
    shape = getattr(module, "normalized_shape", ())
    return int(shape[-1]) if shape else None
