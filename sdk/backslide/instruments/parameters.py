"""Names of parameters, and where their output units lie."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from backslide.instruments.names import plain
from backslide.summary import Units

BY_ROW = (nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


@dataclass(frozen=True)
class Named:
    """A parameter as the layers table knows it.

    Attributes:
        name: qualified name in the model, or `parameter.<position>` without a model.
        module: qualified name of the module that owns it; "" when not known.
        kind: class name of that module; "" when not known.
        units: how the weight divides into output units; None where that has no meaning.
    """

    name: str
    module: str
    kind: str
    units: Units | None


class Parameters:
    """Finds the name of a parameter; a tied one goes by the first name it has.

    Args:
        model: where names come from; None: positions in the optimizers.
    """

    def __init__(self, model: nn.Module | None) -> None:
        """Reads the names."""
        self._model = model
        self._named: dict[int, Named] = {}
        self._strangers = 0
        self._read()

    def trained(self) -> list[Tensor]:
        """The model's parameters that are not frozen, each once."""
        if self._model is None:
            return []
        return [tensor for tensor in self._model.parameters() if tensor.requires_grad]

    def of(self, tensor: Tensor) -> Named:
        """What is known about a parameter; one seen for the first time gets a name."""
        if id(tensor) not in self._named:
            self._read()  # the model may have grown
        if id(tensor) not in self._named:
            self._named[id(tensor)] = Named(f"parameter.{self._strangers}", "", "", None)
            self._strangers += 1
        return self._named[id(tensor)]

    def _read(self) -> None:
        if self._model is None:
            return
        for path, module in self._model.named_modules():
            for name, tensor in module.named_parameters(path, recurse=False):
                if id(tensor) not in self._named:
                    kind = type(module).__name__
                    self._named[id(tensor)] = Named(
                        plain(name), plain(path), kind, _units(module, tensor)
                    )


def trained(groups: Iterable[dict[str, list[Tensor]]]) -> list[Tensor]:
    """The parameters of an optimizer that are not frozen."""
    return [tensor for group in groups for tensor in group["params"] if tensor.requires_grad]


def _units(module: nn.Module, tensor: Tensor) -> Units | None:
    """Output units of a weight matrix or kernel; embeddings and norms have none."""
    if tensor.ndim < 2:
        return None
    if isinstance(module, nn.modules.conv._ConvTransposeNd):  # noqa: SLF001  # no public base
        return Units(axis=1)
    if isinstance(module, (*BY_ROW, nn.modules.conv._ConvNd)):  # noqa: SLF001  # no public base
        return Units(axis=0)
    return None
