"""How far a spool has been shipped: the shipper's memory across its own death."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from backslide.record.scalars import keep
from backslide.spool.job import write_json

CURSOR: Final = "cursor.json"

Row = tuple[str, float, int, int]
"""A metric row: key, value, epoch milliseconds, step."""


@dataclass
class Cursor:
    """Saved after MLflow's answer, before a segment is removed.

    Attributes:
        segment, offset: where the next record to log is.
        packed: all segments up to this one are in the artifact store.
        parts: next part number of each table, by artifact folder; none yet is 0.
        series: of each metric: points seen, and the newest one if it was not sent, else None.
        step, time: newest seen.
        status: how the job said it ended; None while it did not.
        dropped: records that the trainer gave up.
        rejected: records that MLflow refused or that were damaged.
        published: the sum of both when it was last logged.
        gone: the run was deleted: whatever follows is refused without asking.
        base: added to every step: where the run stood that this job took up; None until known.
    """

    segment: int = 1
    offset: int = 0
    packed: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    series: dict[str, tuple[int, Row | None]] = field(default_factory=dict)
    step: int = 0
    time: int = 0
    status: str | None = None
    dropped: int = 0
    rejected: int = 0
    published: int = 0
    gone: bool = False
    base: int | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Starts at the beginning when there is no cursor yet; raises on an unreadable one."""
        try:
            fields = json.loads((folder / CURSOR).read_text())
        except FileNotFoundError:
            return cls()
        fields["series"] = {
            key: (seen, tuple(last) if last else None)
            for key, (seen, last) in fields["series"].items()
        }
        return cls(**fields)

    def save(self, folder: Path) -> None:
        """Durable before this returns."""
        write_json(folder / CURSOR, asdict(self))

    def thin(self, point: Mapping[str, Any]) -> list[Row]:
        """The rows of one recorded point that MLflow gets as metrics."""
        rows = []
        step = (self.base or 0) + point["step"]
        self.step = max(self.step, step)
        self.time = max(self.time, point["time"])
        for key, value in point["values"].items():
            seen, _ = self.series.get(key, (0, None))
            row = (key, value, point["time"], step)
            chosen = keep(seen)
            if chosen:
                rows.append(row)
            self.series[key] = (seen + 1, None if chosen else row)
        return rows

    def last_rows(self) -> list[Row]:
        """The newest row of each metric that thinning held back."""
        return [row for _, row in self.series.values() if row is not None]
