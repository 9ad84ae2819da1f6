"""From what a run is told to records in its spool: the write side of `Run`."""

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from backslide.contract import Artifact, Metric, Probe
from backslide.measure.snapshot import STATISTICS, Snapshot, encode
from backslide.record.course import thinned
from backslide.record.data import Summary
from backslide.record.predictions import Outcomes
from backslide.record.probed import Probed
from backslide.record.quick import Quick
from backslide.record.scalars import Keys, Point, Reader, file_name
from backslide.ship import parts
from backslide.spool import points
from backslide.spool.frames import Kind
from backslide.spool.job import FILES, write_whole
from backslide.spool.segments import Spool

NO_NUMBER: Final = "a value that is no number"
"""Why a scalar is not kept."""

_NONFINITE: Final = STATISTICS.index("nonfinite_fraction")


class Recorder:
    """Writes one run's records.

    What cannot be kept is counted with what the spool drops, by reason.

    Attributes:
        spool: where they go.
        quick: takes what most loops log in most steps.
    """

    def __init__(self, spool: Spool) -> None:
        """Has written nothing yet."""
        self.spool = spool
        self.quick = Quick(spool)
        self._reader = Reader()
        self._keys = Keys()
        self._catalogues: set[str] = set()
        self._nonfinite = 0
        self._course: list[pa.Table] = []
        self._probed = ""
        self._troubled = False

    def scalars(self, step: int, values: Mapping[str, Any]) -> list[str]:
        """Records scalars; tensors on a device follow when they can be read without a wait.

        Returns:
            The keys of what is no scalar, and is left out.
        """
        if self.quick.write(step, values):
            return []
        ready, unreadable = self._reader.read(step, values)
        self.quick.late = self._reader.pending
        for point in ready:
            self._point(point)
        for _ in unreadable:
            self._lose(NO_NUMBER)
        return unreadable

    def drain(self) -> None:
        """Records the scalars that were still on a device."""
        for point in self._reader.drain():
            self._point(point)
        self.quick.late = False

    def snapshot(self, snapshot: Snapshot) -> None:
        """Records one look inside the network and its network-level figures."""
        catalogue = snapshot.catalogue
        if catalogue.digest not in self._catalogues:
            if not self.spool.append(Kind.CATALOGUE, catalogue.to_json().encode()):
                return
            self._catalogues.add(catalogue.digest)
        self.spool.append(Kind.SNAPSHOT, encode(snapshot), droppable=True)
        if snapshot.batch is not None:
            row = json.dumps(snapshot.batch.columns())
            self.spool.append(Kind.BATCH, row.encode(), droppable=True)
        self._tell_trouble(snapshot)
        if snapshot.scalars:
            moment = int(snapshot.wall_time * 1_000)
            self._point(Point(snapshot.step, moment, snapshot.scalars))

    def _tell_trouble(self, snapshot: Snapshot) -> None:
        """What comes with the start of trouble is not kept for the next part of a long run."""
        lost = bool((snapshot.stats[:, _NONFINITE] > 0.0).any())
        troubled = lost or snapshot.scalars.get(Metric.UPDATE_RATIO) == 0.0
        if troubled and not self._troubled:
            self.spool.hasten()
        self._troubled = troubled

    def network(self, graph: Mapping[str, object]) -> None:
        """Records what the network looks like, in place of what was recorded before."""
        self.attach(Artifact.GRAPH, json.dumps(graph).encode())

    def data(self, name: str, summary: Summary) -> None:
        """Records the identity of a data set."""
        place = f"{Artifact.DATA}/{file_name(name)}"
        self.attach(f"{place}.json", summary.to_json())
        if (sketch := summary.sketch) is not None:
            self.attach(place + Artifact.SKETCH, lambda file: parts.write(sketch, file))
        self.append(Kind.DATASET, summary.dataset())

    def outcomes(self, split: str, found: Outcomes, step: int) -> None:
        """Records what became of each example, and the metrics that follow."""
        path = f"{Artifact.PREDICTIONS}/{file_name(split)}.parquet"
        self.attach(path, lambda file: parts.write(found.table, file))
        self.scalars(step, {f"{split}/{name}": value for name, value in found.metrics.items()})

    def probe(self, found: Probed) -> None:
        """Records a probe in place of the one before; what could be read over time adds up."""
        name, digest = "readability", found.facts[Probe.DIGEST]
        earlier = self._course if digest == self._probed else []  # of other examples: no course
        self._course, self._probed = thinned([*earlier, found.tables[name]]), digest
        whole = {**found.tables, name: pa.concat_tables(self._course)}
        for table_name, table in whole.items():
            path = f"{Artifact.PROBE}/{table_name}.parquet"
            self.attach(path, partial(parts.write, table))
        self.attach(f"{Artifact.PROBE}/probe.json", json.dumps(found.facts).encode())

    def append(self, kind: Kind, fields: Mapping[str, Any]) -> None:
        """Records something that is said once."""
        self.spool.append(kind, json.dumps(fields).encode())

    def attach(self, path: str, content: bytes | Callable[[Path], object]) -> None:
        """Hands a whole file to the shipper, for `path` below the run's artifact root."""
        spool = self.spool
        file = spool.folder / FILES / uuid.uuid4().hex / Path(path).name
        try:
            file.parent.mkdir(parents=True)
            if callable(content):
                content(file)
            else:
                write_whole(file, content)
        except OSError as error:
            shutil.rmtree(file.parent, ignore_errors=True)
            self._lose(error.strerror or "the disk failed")
            return
        except BaseException:
            shutil.rmtree(file.parent, ignore_errors=True)
            self._lose("a file could not be kept")
            raise
        if file.stat().st_size > spool.room:
            shutil.rmtree(file.parent, ignore_errors=True)
            self._lose("a file larger than the room left in the spool")
            return
        self.append(Kind.ARTIFACT, {"path": path, "file": str(file.relative_to(spool.folder))})
        spool.hasten()

    def _point(self, point: Point) -> None:
        values, finite = {}, True
        for name, value in point.values.items():
            key = self._keys[str(name)]
            if key is None:
                self._lose("too many different keys")
                continue
            values[key] = value
            # True of NaN and infinities alone, and the fastest way to ask.
            if value - value != 0.0:
                self._nonfinite += 1
                values[Metric.NONFINITE] = float(self._nonfinite)
                finite = False
        form = points.Form(values)
        self.spool.append(
            Kind.SCALARS, form.encode(point.step, point.time, tuple(values.values()))
        )
        if finite and len(values) == len(point.values):
            self.quick.learn(tuple(point.values), form)

    def _lose(self, reason: str) -> None:
        self.spool.dropped[reason] += 1
