"""The scalars of most steps: numbers at hand, under keys that were seen before.

They are written between the kernels of a network, where nothing of Python is in the caches and
each function called costs some four microseconds. So all of it but the write is one function,
which asks as little as it can; whatever is unusual is left to the recorder.
"""

from collections.abc import Mapping
from time import time_ns
from typing import Any, Final
from zlib import crc32

from backslide.spool.frames import Kind
from backslide.spool.points import MARK, Form
from backslide.spool.segments import Spool

FORMS: Final = 64
"""Sets of keys of which points are written without a second look."""

_KIND: Final = Kind.SCALARS


class Quick:
    """The short way into a spool.

    Attributes:
        late: whether earlier scalars are still on a device; the recorder then looks after them
            whenever it is given new ones.
    """

    __slots__ = ("_forms", "_spool", "late")

    def __init__(self, spool: Spool) -> None:
        """Knows no keys yet."""
        self._spool = spool
        self._forms: dict[tuple[str, ...], Form] = {}
        self.late = False

    def learn(self, keys: tuple[str, ...], form: Form) -> None:
        """From now on points of these keys, as the user writes them, have this form."""
        if len(self._forms) < FORMS:
            self._forms[keys] = form

    def write(self, step: int, values: Mapping[str, Any]) -> bool:
        """Records the scalars, if all are finite numbers on the host; False: that is not so.

        Raises:
            struct.error: a step beyond 64 bits.
        """
        form = self._forms.get(tuple(values))
        if form is None or self.late:
            return False
        numbers = []
        for value in values.values():
            number = value
            if not isinstance(value, float):
                if not getattr(value, "is_cpu", False):
                    return False
                try:
                    number = float(value.item())
                except (TypeError, ValueError, RuntimeError, OverflowError):
                    return False
            # True of NaN and infinities alone, and the fastest way to ask.
            if number - number != 0.0:
                return False
            numbers.append(number)
        now = time_ns() // 1_000_000
        point = form.point(MARK, form.count, step, now, *numbers, form.keys)
        frame = form.frame(form.head, crc32(point, form.begun), point)
        self._spool.write(_KIND, frame)
        return True
