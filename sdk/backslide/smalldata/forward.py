"""Seeing what goes into a model and comes out of it while the user's own step runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from backslide.smalldata.answers import Predicted
from backslide.smalldata.data import Examples
from backslide.smalldata.trees import Tree, tensors

Step: TypeAlias = Callable[[nn.Module, torch.optim.Optimizer, Any, Any], object]


@dataclass(frozen=True)
class Call:
    """One call of the model: what the user's step gave it, and its predictions."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Tensor | None

    @property
    def fed(self) -> list[Tensor]:
        """The tensors that the model was given."""
        return [t for t in tensors([*self.args, dict(self.kwargs)]) if t.ndim > 0]


class Tap:
    """Keeps the arguments and the output of the first call of a model within the block."""

    def __init__(self, model: nn.Module, predicted: Predicted) -> None:
        """Watches `model`; `predicted` finds the answer in what it returns."""
        self._model = model
        self._predicted = predicted
        self.call = Call((), {}, None)
        self.returned: object = None

    def __enter__(self) -> Self:
        """Starts to watch."""
        self._hook = self._model.register_forward_hook(self._keep, with_kwargs=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops watching."""
        self._hook.remove()

    def _keep(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
    ) -> None:
        if self.returned is None:
            self.call = Call(args, kwargs, self._predicted(output))
            self.returned = output


class _Seen(BaseException):
    """Ends the user's step after the forward pass; no `except Exception` of theirs holds it."""


def observe(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: Step,
    examples: Examples,
    predicted: Predicted,
    *,
    training: bool = False,
) -> Call:
    """Lets the user's own step call the model on some examples, and goes no further.

    The step is left as soon as the model has answered, before any loss or update. The modules
    are in evaluation mode for that call whatever the step sets; with `training`, in the mode
    that the step has them in.
    """
    modes = {module: module.training for module in model.modules()}
    seen: list[Call] = []

    def switch(*_: object) -> None:
        if not training:
            model.eval()

    def leave(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: object) -> None:
        output = predicted(out)
        seen.append(
            Call(args, kwargs, None if output is None else output.detach().cpu().clone())
        )
        raise _Seen

    hooks = [
        model.register_forward_pre_hook(switch),
        model.register_forward_hook(leave, with_kwargs=True),
    ]
    try:
        with torch.no_grad():
            step(model, optimizer, examples.inputs, examples.targets)
    except _Seen:
        pass
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return seen[0] if seen else Call((), {}, None)


def plain_call(
    model: nn.Module, inputs: Tree, predicted: Predicted, *, training: bool = False
) -> Call:
    """Calls the model on inputs as they are in the data, without the user's step."""
    modes = {module: module.training for module in model.modules()}
    try:
        if not training:
            model.eval()
        with torch.no_grad():
            returned = called(model, inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode
    output = predicted(returned)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    return Call(given, {}, None if output is None else output.detach().cpu().clone())


def called(model: nn.Module, inputs: Tree) -> object:
    """What the model makes of inputs as they are in the data."""
    match inputs:
        case Mapping():
            return model(**inputs)
        case tuple() | list():
            return model(*inputs)
        case _:
            return model(torch.as_tensor(inputs))


class NoDropout(TorchFunctionMode):
    """Lets every dropout pass its input on, so that memorising is not a matter of luck.

    Works on calls, not on modules, so that functional dropout is covered and batch norm stays
    in the mode the user has it in. That of recurrent layers is inside a fused kernel, so there
    it is set to zero for the while.
    """

    def __init__(self, model: nn.Module) -> None:
        """Reaches into the recurrent layers of `model`."""
        super().__init__()
        self._rates = {
            module: module.dropout
            for module in model.modules()
            if isinstance(module, nn.RNNBase)
        }

    def __enter__(self) -> Self:
        """Dropout is off from here on."""
        for module in self._rates:
            module.dropout = 0.0
        super().__enter__()  # type: ignore[no-untyped-call]  # torch has no types here
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Dropout is as it was."""
        for module, rate in self._rates.items():
            module.dropout = rate
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]  # the same

    _PASS: ClassVar = {
        functional.dropout,
        functional.dropout1d,
        functional.dropout2d,
        functional.dropout3d,
        functional.alpha_dropout,
        functional.feature_alpha_dropout,
        torch.dropout,
        torch.feature_dropout,
    }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],  # torch calls it like this
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the function returns
        """Calls `func`, without dropout."""
        args, given = tuple(args), dict(kwargs or {})
        if func in self._PASS:
            return args[0] if args else given["input"]
        if func is functional.scaled_dot_product_attention:
            # query, key, value, mask, dropout
            args = args[:4] + ((0.0, *args[5:]) if len(args) > 4 else ())
            if "dropout_p" in given:
                given["dropout_p"] = 0.0
        if func is functional.multi_head_attention_forward:
            # Its signature is fixed: the eleventh argument is dropout_p.
            args = (*args[:10], 0.0, *args[11:]) if len(args) > 10 else args
            if "dropout_p" in given:
                given["dropout_p"] = 0.0
        return func(*args, **given)
