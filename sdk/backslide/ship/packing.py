"""The second stream: closed segments become Parquet parts and whole files, and are removed."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

import pyarrow as pa

from backslide.contract import part
from backslide.ship import parts
from backslide.ship.remote import RejectedError
from backslide.ship.shipment import Shipment
from backslide.spool.segments import read, segment_path, segments

SMALL_ROWS: Final = 1_000
"""A refused part of fewer rows is not halved any more."""


class Packing:
    """Packs and uploads the segments whose records have been logged."""

    def __init__(self, shipment: Shipment) -> None:
        """Sends nothing yet."""
        self._shipment = shipment

    def round(self) -> None:
        """Packs every segment that is due."""
        shipment = self._shipment
        for number in segments(shipment.folder):
            if number >= shipment.cursor.segment:
                return
            if number > shipment.cursor.packed:
                self._pack(number)
            segment_path(shipment.folder, number).unlink(missing_ok=True)
            shipment.take_slack()

    def _pack(self, number: int) -> None:
        shipment = self._shipment
        reading = read(segment_path(shipment.folder, number), 0, closed=True)
        content = parts.sort(reading.records, shipment.folder)
        for folder, table in content.tables.items():
            if table.num_rows:
                self._store(parts.shifted(table, shipment.cursor.base or 0), folder)
        for path, name in content.artifacts:
            file = shipment.folder / name
            if file.exists():  # else sent already, just before the shipper died
                self._upload(file, str(Path(path).parent))
        for why in content.unreadable:
            shipment.reject(None, why)
        shipment.cursor.packed = number
        shipment.save()
        for _, name in content.artifacts:
            shutil.rmtree((shipment.folder / name).parent, ignore_errors=True)

    def _store(self, table: pa.Table, folder: str) -> None:
        """Uploads a table as the next part.

        A refused one is halved: a proxy may take only so much at once.
        """
        shipment = self._shipment
        number = shipment.cursor.parts.get(folder, 0)
        with tempfile.TemporaryDirectory(prefix="backslide-") as scratch:
            # A run that several jobs write into gets parts from each; ours carry our name.
            file = Path(scratch, part(number, shipment.job.client if shipment.joined else ""))
            parts.write(table, file)
            try:
                if shipment.cursor.gone:
                    shipment.reject(None, "the run was deleted", count=table.num_rows)
                else:
                    shipment.remote.upload(file, folder)
            except RejectedError as why:
                if table.num_rows <= SMALL_ROWS:
                    shipment.reject_file(file, folder, str(why), count=table.num_rows)
                else:
                    half = table.num_rows // 2
                    self._store(table.slice(0, half), folder)
                    self._store(table.slice(half), folder)
                return
        shipment.cursor.parts[folder] = number + 1

    def _upload(self, file: Path, folder: str) -> None:
        shipment = self._shipment
        if shipment.cursor.gone:
            shipment.reject(f"{folder}/{file.name}", "the run was deleted")
            return
        try:
            shipment.remote.upload(file, folder)
        except RejectedError as why:
            shipment.reject_file(file, folder, str(why))
