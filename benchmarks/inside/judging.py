"""From a trained model to findings: probed by the SDK, written, read and judged as in life."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from benchmarks.inside.networks import Data
from torch import nn

from backslide.contract import Tag
from backslide.measure.graph.trace import trace_on
from backslide.measure.instruments.graph import Graph as Traced
from backslide.measure.probe.probe import probe as measure
from backslide_detector.engine import Case, judge
from backslide_detector.evidence import ErrorRate, Predictions, RunEvidence
from backslide_detector.finding import Found
from backslide_detector.graph import Graph
from backslide_detector.probe import Inside, Probe
from backslide_detector.store.graph import read_graph
from backslide_detector.store.probe import MANIFEST, read_probe


def probed(model: nn.Module, data: Data) -> Probe:
    """Through files, as a run's probe travels."""
    found = measure(model, *data.probe)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for table, rows in found.tables.items():
            pq.write_table(rows, folder / f"{table}.parquet")
        (folder / MANIFEST).write_text(json.dumps(dict(found.facts)))
        problems: list[str] = []
        probe = read_probe({path.name: path for path in folder.iterdir()}, problems)
    if probe is None or problems:
        raise RuntimeError(f"the probe was not read: {problems}")
    return probe


def traced(model: nn.Module, data: Data) -> Graph | None:
    """The network as it ran, through its JSON."""
    graph = Traced()
    graph.trace(lambda: trace_on(model, data.probe[0]), _fail)
    return read_graph(json.loads(json.dumps(graph.to_dict(model))), [])


def _fail(why: str) -> None:
    raise RuntimeError(why)


def run_of(
    name: str, model: nn.Module, data: Data, number: int, parent: str = ""
) -> RunEvidence:
    """What the detector would read of one run: its probe and its test predictions."""
    x, y = data.test
    with torch.no_grad():
        said = model(x).argmax(1)
    right = (said == y).numpy()
    tested = Predictions(
        ids=np.array([f"test-{i}" for i in range(len(y))], dtype=object),
        targets=y.numpy().astype(str).astype(object),
        predictions=said.numpy().astype(str).astype(object),
        correct=right,
    )
    return RunEvidence(
        run_id=f"{number:032x}",
        name=name,
        experiment_id="1",
        status="FINISHED",
        started=float(number),
        ended=float(number) + 0.5,
        lineage="bench",
        tags={Tag.PARENT: parent} if parent else {},
        predictions={"test": tested},
        error=ErrorRate("test", float(1 - right.mean()), len(y), "predictions/test"),
        graph=traced(model, data),
        probe=probed(model, data),
    )


def findings(
    new: RunEvidence, old: RunEvidence, healthy: tuple[Inside, ...]
) -> dict[str, str | None]:
    """Name of each finding about the inside -> its layer."""
    judged = judge(Case(new, old, healthy=healthy))
    if judged.traceback is not None:
        raise RuntimeError(judged.traceback)
    return {
        result.check: result.outcome.layer
        for result in judged.judgement.results
        if isinstance(result.outcome, Found) and result.check in INSIDE
    }


INSIDE = (
    "layer-changed", "group-lost", "concepts-shifted", "concept-lost", "readout-gap",
    "graph-changed",
)  # fmt: skip
