"""Names and rows of parameters, and where their output units lie."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from backslide.contract import Role
from backslide.measure.instruments.names import plain
from backslide.measure.layout import Layout
from backslide.measure.summary import Units

BY_ROW = (nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


@dataclass(frozen=True, eq=False)
class Named:
    """A parameter as the layers table knows it.

    Attributes:
        tensor: the parameter, as long as it lives.
        gradient, weight, update: numbers of its rows.
        units: how the weight divides into output units; None where that has no meaning.
    """

    tensor: weakref.ref[Tensor]
    gradient: int
    weight: int
    update: int
    units: Units | None


class Parameters:
    """Knows parameters by name; a tied one goes by the first name it has.

    Args:
        model: where names come from; None: positions in the optimizers.
        layout: gives rows.
    """

    def __init__(self, model: nn.Module | None, layout: Layout) -> None:
        """Reads the names."""
        self._model = model
        self._layout = layout
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
        known = self._known(tensor)
        if known is None:
            self._read()  # the model may have grown
            known = self._known(tensor)
        if known is None:
            known = self._name(tensor, f"parameter.{self._strangers}", "", "", None)
            self._strangers += 1
        return known

    def _known(self, tensor: Tensor) -> Named | None:
        known = self._named.get(id(tensor))
        # Another tensor may have got the id of one that is gone.
        return known if known is not None and known.tensor() is tensor else None

    def _read(self) -> None:
        if self._model is None:
            return
        for path, module in self._model.named_modules():
            for name, tensor in module.named_parameters(path, recurse=False):
                if self._known(tensor) is None:
                    kind = type(module).__name__
                    self._name(tensor, plain(name), plain(path), kind, units_of(module, tensor))

    def _name(
        self, tensor: Tensor, name: str, module: str, kind: str, units: Units | None
    ) -> Named:
        gradient, weight, update = (
            self._layout.key(role, name, module, kind)
            for role in (Role.GRADIENT, Role.WEIGHT, Role.UPDATE)
        )
        named = Named(weakref.ref(tensor), gradient, weight, update, units)
        self._named[id(tensor)] = named
        return named


def trained(groups: Iterable[dict[str, list[Tensor]]]) -> list[Tensor]:
    """The parameters of an optimizer that are not frozen."""
    return [tensor for group in groups for tensor in group["params"] if tensor.requires_grad]


def units_of(module: nn.Module, tensor: Tensor) -> Units | None:
    """Output units of a weight matrix or kernel; embeddings and norms have none."""
    if tensor.ndim < 2:
        return None
    if isinstance(module, nn.modules.conv._ConvTransposeNd):  # noqa: SLF001  # no public base
        return Units(axis=1)
    if isinstance(module, (*BY_ROW, nn.modules.conv._ConvNd)):  # noqa: SLF001  # no public base
        return Units(axis=0)
    return None
