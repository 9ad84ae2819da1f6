"""Which of torch's functions are worth a node of their own."""

import re
from typing import Final

DEFINED: Final = re.compile(
    r"relu|relu6|leaky_relu|prelu|elu|selu|celu|gelu|silu|mish|hardtanh|hardswish|hardsigmoid"
    r"|sigmoid|tanh|softplus|softsign|softmax|log_softmax|glu|logsigmoid"
    r"|conv(_transpose)?[123]d|linear|bilinear|embedding(_bag)?"
    r"|(adaptive_)?(avg|max)_pool[123]d|interpolate|upsample|grid_sample|pixel_shuffle"
    r"|(batch|layer|group|instance|rms|local_response)_norm|normalize"
    r"|scaled_dot_product_attention|multi_head_attention_forward"
)
"""Functions that a network could have had as modules: nodes even with one source."""

FROM_NOTHING: Final = re.compile(r".*_like|new_.*")
"""Functions whose results do not depend on the numbers they are given."""

LEAVING: Final = frozenset({"numpy", "__array__", "tolist"})
"""Ways out of torch, after which numbers may come back in tensors that nobody has seen."""

DROPPING: Final = re.compile(r"dropout([123]d)?|(feature_)?alpha_dropout")
"""Functions that drop a share `p` of what they are given."""

MOST: Final = 0.8
"""Share of its inputs from which on a dropout drops nearly all of them."""

_REFLECTED: Final = re.compile(
    r"__[ri]?(add|sub|mul|matmul|truediv|floordiv|pow|mod|and|or|xor)__|__(setitem|getitem)__"
)


def operation(function: object) -> str:
    """A function's name for people: `add` for `x + y`, `x += y` and `torch.add(x, y)`."""
    name = str(getattr(function, "__name__", type(function).__name__))
    if (found := _REFLECTED.fullmatch(name)) is not None:
        return found[1] or found[2]
    return name.strip("_") or name


def writes(function: object) -> bool:
    """Whether a function changes its first argument."""
    name = str(getattr(function, "__name__", ""))
    if name == "__setitem__" or re.fullmatch(r"__i[a-z]+__", name):
        return True
    return name.endswith("_") and not name.endswith("__")
