"""A closed segment of the spool as the Parquet tables that lie in the artifact store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backslide.contract import BATCHES_SCHEMA, LAYERS_SCHEMA, SCALARS_SCHEMA, Artifact
from backslide.measure.snapshot import Catalogue, decode
from backslide.spool import points
from backslide.spool.frames import Kind, Record
from backslide.spool.job import CATALOGUES, write_whole


@dataclass(frozen=True)
class Parts:
    """One segment, sorted by where it goes.

    Attributes:
        tables: by artifact folder; without rows when the segment held none.
        artifacts: (path below the run's artifact root, file below the spool) of whole files.
        unreadable: why a record was left out, one sentence each.
    """

    tables: Mapping[str, pa.Table]
    artifacts: tuple[tuple[str, str], ...]
    unreadable: tuple[str, ...]


def sort(records: Sequence[Record], folder: Path) -> Parts:
    """Reads the records of one segment of the spool in `folder`."""
    columns: dict[str, list[object]] = {name: [] for name in SCALARS_SCHEMA.names}
    layers, batches, artifacts, unreadable = [], [], [], []
    catalogues: dict[str, Catalogue] = _Catalogues(folder)
    for record in records:
        try:
            match record.kind:
                case Kind.SCALARS:
                    point = points.decode(record.payload)
                    for key, value in point["values"].items():
                        columns["step"].append(point["step"])
                        columns["timestamp"].append(point["time"])
                        columns["key"].append(key)
                        columns["value"].append(value)
                case Kind.SNAPSHOT:
                    layers.append(decode(record.payload, catalogues))
                case Kind.BATCH:
                    row = json.loads(record.payload)
                    batches.append(pa.Table.from_pylist([row], schema=BATCHES_SCHEMA))
                case Kind.ARTIFACT:
                    entry = json.loads(record.payload)
                    artifacts.append((entry["path"], entry["file"]))
                case _:
                    pass  # not for the artifact store
        except (ValueError, KeyError, TypeError, OSError) as error:
            unreadable.append(f"a record of kind {record.kind} cannot be read: {error}")
    return Parts(
        {
            Artifact.SCALARS: pa.table(columns, schema=SCALARS_SCHEMA),
            Artifact.LAYERS: pa.concat_tables([LAYERS_SCHEMA.empty_table(), *layers]),
            Artifact.BATCHES: pa.concat_tables([BATCHES_SCHEMA.empty_table(), *batches]),
        },
        tuple(artifacts),
        tuple(unreadable),
    )


def keep_catalogue(payload: bytes, folder: Path) -> None:
    """Lays a catalogue down under its digest, where it outlives the segment it came in."""
    catalogue = Catalogue.from_json(payload.decode())
    write_whole(folder / CATALOGUES / f"{catalogue.digest}.json", payload)


class _Catalogues(dict[str, Catalogue]):
    """Loads each catalogue when a snapshot first names it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder / CATALOGUES

    def __missing__(self, digest: str) -> Catalogue:
        self[digest] = Catalogue.from_json((self._folder / f"{digest}.json").read_text())
        return self[digest]


def shifted(table: pa.Table, base: int) -> pa.Table:
    """The table with `base` added to every step."""
    if base == 0:
        return table
    place = table.schema.get_field_index("step")
    return table.set_column(place, table.schema.field(place), pc.add(table["step"], base))


def write(table: pa.Table, path: Path | pa.NativeFile) -> None:
    """Writes a table compressed, with a checksum on each page.

    Floats are stored byte plane by byte plane, which zstd compresses about a third better.
    """
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    lists = [field for field in table.schema if pa.types.is_list(field.type)]
    floats += [
        f"{field.name}.list.element"
        for field in lists
        if pa.types.is_floating(field.type.value_type)
    ]
    repeated = [field.name for field in table.schema if pa.types.is_string(field.type)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=repeated,
        use_byte_stream_split=floats,
        write_page_checksum=True,
    )
