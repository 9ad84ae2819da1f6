"""Scalars on their way out: keys that MLflow accepts, values read late, rows thinned."""

import hashlib
import posixpath
import re
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

KEY_LIMIT: Final = 250
FILE_NAME_BYTES: Final = 200
FORBIDDEN: Final = re.compile(r"[^/\w.\- :]")
MAX_KEYS: Final = 10_000
"""Distinct keys a run may have; MLflow's own pages stop being usable far below."""

DENSE: Final = 200
ROWS_PER_STRIDE: Final = 50
RESOLVE_EVERY: Final = 50
"""Accelerator scalars are copied to the host in batches of so many."""


def keep(index: int) -> bool:
    """Whether the `index`-th point of a series becomes a row in MLflow.

    The first 200 points do; then every 2nd, and after each further 50 rows the stride doubles:
    864 rows for a million points. A pure function of the index, so that a replay after a crash
    picks the same rows and MLflow's own key makes them one.
    """
    if index < DENSE:
        return True
    past = index - DENSE
    level = (past // ROWS_PER_STRIDE + 2).bit_length() - 1
    return (past - ROWS_PER_STRIDE * ((1 << level) - 2)) % (1 << level) == 0


def clean(key: str) -> str:
    """The nearest key that MLflow accepts: letters, digits, `_ - . : /` and space, 250 at most.

    A key that is cut keeps a piece of its digest, so that long keys with one beginning differ.
    """
    text = FORBIDDEN.sub("_", key)
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    text = posixpath.join(*parts) if parts else "_"
    return text if len(text) <= KEY_LIMIT else _marked(text, key)


def file_name(name: str) -> str:
    """One path segment for a name; file systems take 255 bytes, and a suffix will follow."""
    text = clean(name).replace("/", "_")
    data = text.encode()
    if len(data) <= FILE_NAME_BYTES:
        return text
    return f"{data[:FILE_NAME_BYTES].decode(errors='ignore')}-{_digest(name)}"


def _marked(text: str, key: str) -> str:
    return f"{text[: KEY_LIMIT - 9]}-{_digest(key)}"


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=4).hexdigest()


class Keys:
    """Maps the user's keys to accepted ones, two different keys never to the same."""

    def __init__(self) -> None:
        """Starts empty."""
        self._cleaned: dict[str, str] = {}
        self._taken: set[str] = set()

    def __getitem__(self, key: str) -> str | None:
        """The accepted key; None once there are too many."""
        found = self._cleaned.get(key)
        return found if found is not None else self._add(key)

    def _add(self, key: str) -> str | None:
        if len(self._cleaned) >= MAX_KEYS:
            return None
        text = clean(key)
        if text in self._taken:
            text = _marked(text, key)
        self._taken.add(text)
        self._cleaned[key] = text
        return text


@dataclass(frozen=True, slots=True)
class Point:
    """Values of one step, read or still on an accelerator; `time` in epoch milliseconds."""

    step: int
    time: int
    values: Mapping[str, Any]


def now() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Reader:
    """Turns what users log into floats without making the device wait.

    Host values are read at once. Tensors on an accelerator are cloned, gathered and copied in
    batches; a batch is read once its copy has arrived, so nothing on the hot path waits.
    Not thread-safe: it belongs to the training thread.
    """

    def __init__(self) -> None:
        """Starts with nothing pending."""
        self._waiting: list[tuple[int, int, str, torch.Tensor]] = []
        self._flying: list[_Batch] = []

    @property
    def pending(self) -> bool:
        """Whether anything is on its way from a device."""
        return bool(self._waiting or self._flying)

    def read(self, step: int, values: Mapping[str, Any]) -> tuple[list[Point], list[str]]:
        """What can be read now, older points first, and the keys that are no scalars."""
        moment = now()
        ready, unreadable = {}, []
        tensor = getattr(sys.modules.get("torch"), "Tensor", ())
        for key, value in values.items():
            try:
                if type(value) is float:
                    ready[key] = value
                elif isinstance(value, tensor) and not value.is_cpu:
                    copy = value.detach().reshape(()).clone()
                    self._waiting.append((step, moment, key, copy))
                else:
                    ready[key] = float(value.item() if hasattr(value, "item") else value)
            except (TypeError, ValueError, RuntimeError, OverflowError):
                unreadable.append(key)
        points = list(self._arrived()) if self._waiting or self._flying else []
        return ([*points, Point(step, moment, ready)] if ready else points), unreadable

    def drain(self) -> list[Point]:
        """Everything that is left, waiting for the device."""
        self._launch()
        flying, self._flying = self._flying, []
        return [point for batch in flying for point in batch.points(wait=True) or ()]

    def _arrived(self) -> Iterable[Point]:
        if len(self._waiting) >= RESOLVE_EVERY:
            self._launch()
        while self._flying and (points := self._flying[0].points(wait=False)) is not None:
            self._flying.pop(0)
            yield from points

    def _launch(self) -> None:
        groups: dict[tuple[object, object], list[tuple[int, int, str, torch.Tensor]]] = {}
        for item in self._waiting:
            groups.setdefault((item[3].device, item[3].dtype), []).append(item)
        self._waiting.clear()
        self._flying += [_Batch(items) for items in groups.values()]


class _Batch:
    """Scalars of one device and type, on their way to the host."""

    def __init__(self, items: list[tuple[int, int, str, "torch.Tensor"]]) -> None:
        torch = sys.modules["torch"]
        stacked = torch.stack([item[3] for item in items])
        self._labels = [item[:3] for item in items]
        self._event = None
        if stacked.is_cuda:
            # Only a copy into pinned memory is truly asynchronous.
            self._host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
            self._host.copy_(stacked, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(stacked.device))
        else:
            self._host = stacked.cpu()

    def points(self, *, wait: bool) -> list[Point] | None:
        """The values, or None while the copy is under way."""
        if self._event is not None:
            if wait:
                self._event.synchronize()
            elif not self._event.query():
                return None
        return [
            Point(step, now, {key: value})
            for (step, now, key), value in zip(self._labels, self._host.tolist(), strict=True)
        ]
