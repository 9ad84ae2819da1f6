"""What a probe found: the record between measuring and writing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Probed:
    """What a probe found.

    Attributes:
        tables: by the names of `PROBE_SCHEMAS`.
        facts: what `probe.json` holds.
    """

    tables: Mapping[str, pa.Table]
    facts: Mapping[str, Any]
