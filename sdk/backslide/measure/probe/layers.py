"""Which outputs stand for the layers of a network, and how they are to be read.

A residual block stands for itself: what it adds to the stream is more alike between retrains
than its branches are. Outside of blocks a layer is a module with weights together with the norm
and the activation that follow: the last of these speaks for it.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from torch import Tensor, nn

from backslide.measure.instruments.activations import CHANNELS_FIRST, PASSING
from backslide.measure.probe.calls import Call
from backslide.measure.probe.work import channels_of

Shape = tuple[int, ...]

CONTAINERS: Final = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
STREAMS: Final = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""Blocks even where there is only one."""

NORM: Final = re.compile("norm", re.IGNORECASE)
"""In the class name of what normalises; each library has its own."""

NOT_ACTIVATIONS: Final = re.compile("pool|pad|upsample|shuffle|fold|softm|loss|drop|identity")
"""In the class name, in small letters, of modules without weights that move or drop numbers,
or that turn answers into probabilities."""


@dataclass(frozen=True)
class Reading:
    """How the examples and channels lie in an output.

    Attributes:
        batch: the dimension that counts examples.
        times: rows an example in it, where places and examples share a dimension.
        channels: the dimension of the channels.
    """

    batch: int
    times: int
    channels: int


@dataclass(frozen=True)
class Layer:
    """One output that stands for a layer.

    Attributes:
        name: qualified name of the module, `name#2` of its second call.
        module: the name alone.
        number: of the call, from 1.
        kind: class name of the module.
        weights: name of the module with weights whose numbers these are.
        depth: place among all layers, from 0.
        numbers: of its output, an example.
        reading: of the output.
    """

    name: str
    module: str
    number: int
    kind: str
    weights: str
    depth: int
    numbers: int
    reading: Reading


@dataclass(frozen=True)
class Chosen:
    """What of a network is looked at.

    Attributes:
        layers: in the order in which they ran.
        branches: modules with weights inside the blocks that sequences run through: only their
            channels are looked at. The depth is that of the layer they lead into.
        left_out: names of those that do not answer for each example: experts that get some.
    """

    layers: list[Layer]
    branches: list[Layer]
    left_out: list[str]


def choose(calls: Sequence[Call], again: Sequence[Call], rows: tuple[int, int]) -> Chosen:
    """Chooses among the calls of a forward pass.

    Args:
        calls: of one forward pass.
        again: of another one with another number of examples, which tells what counts them.
        rows: examples of each pass.
    """
    shapes = {call.key: tuple(call.output.shape) for call in again if call.output is not None}
    carriers = [call for call in calls if call.leaf and _has_weights(call)]
    readings = {
        call.key: reading
        for call in calls
        if (reading := _reading(call, carriers, shapes, rows)) is not None
    }
    blocks = _blocks(calls)
    weights = {call.key: call.name for call in calls}
    spoken = _spoken_for(calls, blocks, readings)
    weights |= {call.key: origin for call, origin in spoken}
    wanted = [*blocks, *(call for call, _ in spoken)]
    chosen = [call for call in wanted if call.key in readings]
    left_out = list(dict.fromkeys(call.key for call in wanted if call.key not in readings))
    if not chosen:  # functions of bare parameters: the answer is all there is to see
        chosen = [call for call in calls[-1:] if call.key in readings]
    seen: dict[object, Call] = {}
    for call in sorted(chosen, key=lambda each: (each.leaf, each.end)):
        seen.setdefault(call.version, call)
    ordered = sorted(seen.values(), key=lambda call: call.end)
    ends = [call.end for call in ordered]
    inside = [
        call
        for call in carriers
        if call.key in readings
        and call.version not in seen
        and not _norms(call)
        and any(_is_stream(block) and call.inside(block) for block in blocks)
    ]

    def layer(call: Call) -> Layer:
        numbers = 0 if call.output is None else call.output.numel() // rows[0]
        return Layer(
            call.key,
            call.name,
            call.number,
            type(call.module).__name__,
            weights[call.key],
            bisect_left(ends, call.end),
            numbers,
            readings[call.key],
        )

    return Chosen(
        [layer(call) for call in ordered],
        [layer(call) for call in sorted(inside, key=lambda call: call.end)],
        left_out,
    )


def thinned(layers: Sequence[Layer], most: int) -> list[Layer]:
    """At most so many layers, evenly spread over the depth, the first and last among them."""
    if len(layers) <= most:
        return list(layers)
    places = np.unique(np.linspace(0, len(layers) - 1, most).round().astype(int))
    return [layers[place] for place in places]


def _blocks(calls: Sequence[Call]) -> list[Call]:
    """Modules made of others that feed one another in a chain of their kind."""
    made = [
        call
        for call in calls
        if not call.leaf and type(call.module) not in CONTAINERS and call.version is not None
    ]
    sources = {call.version.tensor: call for call in made if call.version is not None}
    found: dict[str, Call] = {}
    for call in made:
        source = None if call.given is None else sources.get(call.given.tensor)
        if source is not None and type(source.module) is type(call.module):
            found |= {source.key: source, call.key: call}
        elif isinstance(call.module, STREAMS):
            found[call.key] = call
    return list(found.values())


def _spoken_for(
    calls: Sequence[Call], blocks: Sequence[Call], readings: Mapping[str, Reading]
) -> list[tuple[Call, str]]:
    """The last of each run of weights, norm and activation, with the weights' name."""
    speakers: list[tuple[Call, str]] = []
    home: Call | None = None
    for call in sorted((each for each in calls if each.leaf), key=lambda each: each.start):
        if _passes(call):
            if _pools_all(call, readings):
                speakers.append((call, speakers[-1][1] if speakers else call.name))
            continue
        around = [block for block in blocks if call.inside(block)]
        inner = max(around, key=lambda block: block.start, default=None)
        if inner is not None and _is_stream(inner):
            home = inner
            continue
        follows = bool(speakers) and home is inner
        home = inner
        if _has_weights(call) and not (_norms(call) and follows):
            speakers.append((call, call.name))
        elif follows and (_norms(call) or _activates(call)):
            speakers[-1] = (call, speakers[-1][1])
        elif _norms(call):
            speakers.append((call, call.name))
    return [
        (call, origin)
        for call, origin in speakers
        if _activates(call) or not any(call.inside(block) for block in blocks)
    ]


def _passes(call: Call) -> bool:
    module = call.module
    if isinstance(module, PASSING):
        return True
    return not _has_weights(call) and not _norms(call) and not _activates(call)


def _pools_all(call: Call, readings: Mapping[str, Reading]) -> bool:
    """One number a channel of what was an image: what the last layer of many networks reads."""
    if "Pool" not in type(call.module).__name__ or call.output is None or call.given is None:
        return False
    reading = readings.get(call.key)
    one = reading is not None and call.output[0].numel() == call.output.shape[reading.channels]
    return one and call.given.shape.numel() > call.output.numel()


def _has_weights(call: Call) -> bool:
    return next(call.module.parameters(), None) is not None and not _is_prelu(call.module)


def _is_prelu(module: nn.Module) -> bool:
    return isinstance(module, nn.PReLU)


def _norms(call: Call) -> bool:
    return NORM.search(type(call.module).__name__) is not None


def _activates(call: Call) -> bool:
    if _has_weights(call) or _norms(call):
        return False
    if call.output is None or call.given is None or call.given.shape != call.output.shape:
        return False
    return NOT_ACTIVATIONS.search(type(call.module).__name__.lower()) is None


def _is_stream(block: Call) -> bool:
    """Sequences run through it: its branches are not looked at."""
    return isinstance(block.module, STREAMS) or (
        block.output is not None and block.output.ndim == 3
    )


def _last_weights(call: Call, carriers: Sequence[Call]) -> Call | None:
    """The leaf with weights that ran last before the end of a call."""
    before = bisect_right(carriers, call.end, key=lambda each: each.end)
    known = (each for each in reversed(carriers[:before]) if channels_of(each.module))
    return next(known, None)


def _reading(
    call: Call, carriers: Sequence[Call], again: Mapping[str, Shape], rows: tuple[int, int]
) -> Reading | None:
    """Where the examples and channels are; None where no dimension counts examples."""
    if call.output is None or call.output.ndim == 0:
        return None
    shape = tuple(call.output.shape)
    other = again.get(call.key)
    if other is None or len(other) != len(shape):
        return None
    differ = [
        axis for axis, pair in enumerate(zip(shape, other, strict=True)) if len({*pair}) > 1
    ]
    if len(differ) != 1:
        return None
    batch = differ[0]
    times, rest = divmod(shape[batch], rows[0])
    if rest or times * rows[1] != other[batch] or (times > 1 and batch > 0):
        return None
    return Reading(batch, times, _channels(call.output, batch, _last_weights(call, carriers)))


def _channels(output: Tensor, batch: int, weights: Call | None) -> int:
    """Where the last layer with weights put them; their number tells if they were moved."""
    free = [axis for axis in range(output.ndim) if axis != batch]
    if not free:
        return batch
    first = weights is not None and isinstance(weights.module, CHANNELS_FIRST)
    if weights is None:
        first = output.ndim >= 4
    likely, other = (free[0], free[-1]) if first else (free[-1], free[0])
    width = None if weights is None else channels_of(weights.module)
    moved = output.shape[likely] != width and output.shape[other] == width
    return other if moved else likely
