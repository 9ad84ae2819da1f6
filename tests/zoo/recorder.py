"""Watches one training run with the SDK's instruments and builds the evidence of it.

The way through MLflow is left out; the layers table and its reader are the real ones.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

from backslide.contract import Role
from backslide.measure.snapshot import Snapshot, decode, encode
from backslide.measure.watch import Watch
from backslide_detector.evidence import DataSummary, Predictions, RunEvidence, Series
from backslide_detector.store.tables import read_layers


class Recorder:
    """Call `step` after each training step and `evidence` at the end."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.watch = Watch(model, [optimizer])
        self.snapshots: list[Snapshot] = []
        self.now = 0
        self.scalars: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.data: dict[str, DataSummary] = {}
        self.predictions: dict[str, Predictions] = {}

    def step(self, **scalars: float):
        self.log(**scalars)
        self.snapshots += self.watch.step(self.now)
        self.now += 1

    def log(self, **scalars: float):
        for key, value in scalars.items():
            self.scalars[key].append((self.now, float(value)))

    def log_data(self, name: str, targets: np.ndarray):
        labels, counts = np.unique(targets, return_counts=True)
        found = {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
        self.data[name] = DataSummary(name, "digest", rows=len(targets), class_counts=found)

    def log_predictions(self, split: str, targets: np.ndarray, predictions: np.ndarray):
        ids = np.array([str(i) for i in range(len(targets))], dtype=object)
        right = targets == predictions
        kind = str if np.issubdtype(targets.dtype, np.integer) else np.float64
        self.predictions[split] = Predictions(
            ids,
            targets.astype(kind).astype(object),
            predictions.astype(kind).astype(object),
            right,
        )

    def evidence(self, name: str) -> RunEvidence:
        self.snapshots += self.watch.close()
        layers = self._layers()
        return RunEvidence(
            run_id=name,
            name=name,
            experiment_id="0",
            status="FINISHED",
            started=0.0,
            ended=float(self.now),
            lineage="zoo",
            series={key: _series(points) for key, points in self.scalars.items()},
            activations=layers.get(Role.ACTIVATION),
            gradients=layers.get(Role.GRADIENT),
            weights=layers.get(Role.WEIGHT),
            updates=layers.get(Role.UPDATE),
            predictions=self.predictions,
            data=self.data,
        )

    def _layers(self):
        kinds = {str(n["name"]): str(n["kind"]) for n in self.watch.graph()["nodes"]}
        catalogues = {
            snapshot.catalogue.digest: snapshot.catalogue for snapshot in self.snapshots
        }
        problems: list[str] = []
        with TemporaryDirectory() as folder:
            part = Path(folder) / "part-00000.parquet"
            pq.write_table(decode(b"".join(map(encode, self.snapshots)), catalogues), part)
            layers = read_layers([part], kinds, problems)
        assert not problems, problems
        return layers


def _series(points: list[tuple[int, float]]) -> Series:
    steps, values = zip(*points, strict=True)
    return Series(np.array(steps, np.int64), np.array(values), np.array(steps, float) * 0.01)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    mode = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(mode)
