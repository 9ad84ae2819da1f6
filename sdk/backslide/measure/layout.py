"""Which tensor has which row: grows as tensors appear, and never moves a row."""

from collections.abc import Callable
from dataclasses import dataclass

from backslide.contract import Role
from backslide.measure.snapshot import Catalogue

ORDER = (Role.ACTIVATION, Role.GRADIENT, Role.WEIGHT, Role.UPDATE)


@dataclass(frozen=True)
class Place:
    """One tensor: its role, its name, and the module it belongs to by name and class name."""

    role: Role
    name: str
    module: str
    kind: str


class Layout:
    """Numbers tensors in the order they are met, and rows in the order people read."""

    def __init__(self) -> None:
        """Has no rows yet."""
        self.places: list[Place] = []
        self._rows: dict[int, int] = {}
        self.catalogue = Catalogue((), (), (), (), ())
        self._keys: dict[tuple[Role, str], int] = {}

    def key(self, role: Role, name: str, module: str, kind: str) -> int:
        """The number of a tensor, the same in every step."""
        known = self._keys.get((role, name))
        if known is None:
            known = self._keys[role, name] = len(self.places)
            self.places.append(Place(role, name, module, kind))
        return known

    def row(self, key: int) -> int:
        """The row of a tensor in the catalogue; raises KeyError before it was admitted."""
        return self._rows[key]

    def admit(self, counts: dict[int, int], depth: Callable[[str], int]) -> None:
        """Gives rows to tensors that were measured for the first time.

        Args:
            counts: elements of the tensors measured in this step, by number.
            depth: position of a module in the order of calls.
        """
        new = [key for key in counts if key not in self._rows]
        if not new:
            return
        depths = {key: depth(self.places[key].module) for key in new}
        new.sort(key=lambda key: (ORDER.index(self.places[key].role), depths[key], key))
        places = [self.places[key] for key in new]
        old = self.catalogue
        for key in new:
            self._rows[key] = len(self._rows)
        self.catalogue = Catalogue(
            (*old.names, *(place.name for place in places)),
            (*old.depths, *(depths[key] for key in new)),
            (*old.roles, *(place.role.value for place in places)),
            (*old.kinds, *(place.kind for place in places)),
            (*old.counts, *(counts[key] for key in new)),
        )
