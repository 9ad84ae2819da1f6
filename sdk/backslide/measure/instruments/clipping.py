"""How much clipping scaled gradients down, as torch's own clipping knows it.

`torch.nn.utils.clip_grad_norm_` computes the norm before it clips, and most loops drop it. The
function under it, which all clipping by norm in torch, Lightning and accelerate comes through,
is observed: it does what it did, and in sampled steps the factor is noted. No gradient is read
again, nothing is waited for, and in a compiled graph nothing is added.
"""

import functools
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.utils import clip_grad


class Clips:
    """The factors of one training, by parameter; listens between `begin` and `end`.

    Args:
        fail: told what could not be noted and why.
    """

    def __init__(self, fail: Callable[[str], None]) -> None:
        """Does not listen yet."""
        self._fail = fail
        self._factors: dict[int, Tensor] = {}

    def begin(self) -> None:
        """Forgets what was and listens."""
        self._factors.clear()
        _listening.add(self)

    def end(self) -> None:
        """Forgets what was and listens no more."""
        self._factors.clear()
        _listening.discard(self)

    def factor(self, parameter: Tensor) -> Tensor | None:
        """What the newest clipping left of a parameter's gradient, a scalar in [0, 1]."""
        return self._factors.get(id(parameter))

    def note(self, parameters: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
        """Notes one clipping; never raises."""
        try:
            if type(total_norm) is not Tensor:
                self._fail(
                    "gradient/norm is the norm after clipping: the norm before it is spread "
                    "over processes"
                )
                return
            # As torch computes it; the 1e-6 as well.
            factor = torch.clamp(float(max_norm) / (total_norm.detach() + 1e-6), max=1.0)
            self._factors.update((id(parameter), factor) for parameter in parameters)
        except Exception as error:  # noqa: BLE001  # nothing may reach the training loop
            self._fail(f"gradient/norm is the norm after clipping: {error}")


_listening: Final[weakref.WeakSet[Clips]] = weakref.WeakSet()


def _observed(clip: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(clip)
    def observed(
        parameters: Tensor | Iterable[Tensor],
        max_norm: float,
        total_norm: Tensor,
        *args: Any,  # noqa: ANN401  # passed on
        **kwargs: Any,  # noqa: ANN401  # the same
    ) -> None:
        if torch.compiler.is_compiling() or not _listening:
            clip(parameters, max_norm, total_norm, *args, **kwargs)
            return
        several = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        clip(several, max_norm, total_norm, *args, **kwargs)
        for each in tuple(_listening):
            each.note(several, max_norm, total_norm)

    return observed


def _observe() -> None:
    """Once a process, for good: to take it away again would make compiled graphs compile anew.

    Before torch 2.6 there was no such function, and norms are those after clipping.
    """
    name = "_clip_grads_with_norm_"
    clip = getattr(clip_grad, name, None)
    if clip is None:
        return
    observed = _observed(clip)
    setattr(clip_grad, name, observed)
    if getattr(torch.nn.utils, "clip_grads_with_norm_", None) is clip:
        torch.nn.utils.clip_grads_with_norm_ = observed


_observe()
