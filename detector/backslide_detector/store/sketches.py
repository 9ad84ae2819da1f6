"""The sketch of a data set -> evidence, whatever the file holds."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from backslide.contract import SKETCH_COLUMNS, SKETCH_LAYOUT, SKETCH_ROWS, sketch_schema
from backslide_detector.evidence import Sketch
from backslide_detector.store.parquet import batches_of, frozen, open_tables


def read_sketch(path: Path, problems: list[str]) -> Sketch | None:
    """The sketch of a data set; None when the table is no use."""
    files = list(open_tables([path], sketch_schema(1), SKETCH_ROWS, problems))
    if not files:
        return None
    schema = files[0].schema_arrow
    sums = [name for name in schema.names if schema.field(name).type == pa.float16()]
    batches = list(batches_of(files[0], ["key", *sums[:SKETCH_COLUMNS]], problems))
    if not batches:
        return None
    table = pa.Table.from_batches(batches).drop_null()
    keys, first = np.unique(table["key"].to_numpy(), return_index=True)
    columns = [table[name].to_numpy()[first] for name in table.column_names[1:]]
    values = np.nan_to_num(np.stack(columns, axis=1).astype(np.float64))
    layout = (schema.metadata or {}).get(SKETCH_LAYOUT, b"").decode(errors="replace")
    return Sketch(layout, frozen(keys), frozen(values), whole=len(keys) < SKETCH_ROWS)
