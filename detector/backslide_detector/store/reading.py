"""One run of an MLflow server -> frozen evidence."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from mlflow.entities import Run

from backslide.contract import Artifact, Role, Tag
from backslide_detector import names
from backslide_detector.evidence import DataSummary, Provenance, RunEvidence, RunHead
from backslide_detector.probe import Inside
from backslide_detector.store import documents
from backslide_detector.store.batches import read_batches
from backslide_detector.store.files import below, download, named
from backslide_detector.store.graph import read_graph
from backslide_detector.store.histories import histories
from backslide_detector.store.layers import read_layers
from backslide_detector.store.probe import read_probe
from backslide_detector.store.sketches import read_sketch
from backslide_detector.store.tables import read_predictions, read_scalars

_FOLDERS: Final = (
    Artifact.LAYERS,
    Artifact.SCALARS,
    Artifact.BATCHES,
    Artifact.PREDICTIONS,
    Artifact.DATA,
    Artifact.PROBE,
)
_INSIDE: Final = (Artifact.PROBE,)
"""All that other runs are compared with, when they are not the predecessor itself."""


def read_run(
    uri: str, run: Run, head: RunHead, mapping: Mapping[str, str], kept: Path | None = None
) -> RunEvidence:
    """Reads histories, artifacts and data inputs of one run.

    Args:
        uri: the tracking server.
        run: the run as the server tells it now.
        head: the same run with its lineage resolved.
        mapping: what the user's metric keys mean.
        kept: where parts that do not change are kept for the next time.
    """
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="backslide-") as folder:
        files = download(uri, run, Path(folder), problems, _FOLDERS, kept=kept)
        scalars = read_scalars(below(files, Artifact.SCALARS), problems)
        said = _object(files, Artifact.GRAPH, problems)
        graph = read_graph(said, problems)
        kinds = {} if graph is None else graph.kinds
        layers = read_layers(below(files, Artifact.LAYERS), kinds, problems)
        probe = read_probe(named(files, Artifact.PROBE), problems)
        batches = read_batches(below(files, Artifact.BATCHES), problems)
        predictions = {
            path.stem: table
            for path in below(files, Artifact.PREDICTIONS)
            if (table := read_predictions(path, problems)) is not None
        }
        data = _inputs(run) | _summaries(below(files, Artifact.DATA), problems)
        provenance = documents.provenance(_object(files, Artifact.PROVENANCE, problems))
    series = scalars | histories(uri, run, scalars, problems)
    params, tags = dict(run.data.params), dict(run.data.tags)
    return RunEvidence(
        run_id=head.run_id,
        name=head.name,
        experiment_id=head.experiment_id,
        status=run.info.status,
        started=head.started,
        ended=head.ended,
        lineage=head.lineage,
        params=params,
        tags=tags,
        series=series,
        activations=layers.get(Role.ACTIVATION),
        gradients=layers.get(Role.GRADIENT),
        weights=layers.get(Role.WEIGHT),
        updates=layers.get(Role.UPDATE),
        batches=batches,
        alike=documents.names_in(said, "alike"),
        drawn=documents.names_in(said, "drawn"),
        dropping=documents.names_in(said, "dropping"),
        idle=documents.names_in(said, "idle"),
        shrink=documents.share_in(said, "shrink"),
        graph=graph,
        probe=probe,
        predictions=predictions,
        data=data,
        provenance=_completed(provenance, tags),
        error=names.error_rate(series, params, tags, data, predictions, mapping=mapping)
        or names.mean_loss(series, predictions),
        problems=tuple(problems),
    )


def read_inside(uri: str, run: Run) -> Inside:
    """What a run's layers do, its graph and where its weights came from; nothing else of it."""
    unread: list[str] = []  # said when that run was judged itself
    with tempfile.TemporaryDirectory(prefix="backslide-") as folder:
        files = download(uri, run, Path(folder), unread, _INSIDE)
        probe = read_probe(named(files, Artifact.PROBE), unread)
        graph = read_graph(_object(files, Artifact.GRAPH, unread), unread)
        source = documents.provenance(_object(files, Artifact.PROVENANCE, unread))
    return Inside(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        probe=None if probe is None else probe.summary,
        graph=graph,
        parent=run.data.tags.get(Tag.PARENT),
        initial_weights=source.initial_weights,
        final_weights=source.final_weights,
    )


def _object(files: Mapping[str, Path], name: str, problems: list[str]) -> Mapping[str, object]:
    return documents.read_object(files[name], problems) if name in files else {}


def _summaries(paths: Iterable[Path], problems: list[str]) -> dict[str, DataSummary]:
    """The data sets that were logged through the SDK, by name, with their sketches."""
    by_name = {path.name: path for path in paths}
    data: dict[str, DataSummary] = {}
    for path in by_name.values():
        if path.suffix == ".json":
            found = documents.data_summary(path.stem, documents.read_object(path, problems))
            sketch = by_name.get(path.stem + Artifact.SKETCH)
            if sketch is not None:
                found = replace(found, sketch=read_sketch(sketch, problems))
            data[path.stem] = found
    return data


def _inputs(run: Run) -> dict[str, DataSummary]:
    """The data sets that were logged in MLflow's own way, by context or name."""
    data: dict[str, DataSummary] = {}
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        context = next((t.value for t in entry.tags if t.key == "mlflow.data.context"), None)
        try:
            profile = json.loads(entry.dataset.profile or "{}")
        except ValueError:
            profile = {}
        rows = profile.get("num_rows") if isinstance(profile, dict) else None
        data[context or entry.dataset.name] = DataSummary(
            name=entry.dataset.name,
            digest=entry.dataset.digest,
            rows=rows if isinstance(rows, int) and rows >= 0 else None,
        )
    return data


def _completed(source: Provenance, tags: Mapping[str, str]) -> Provenance:
    """MLflow's own tags speak where the SDK did not."""
    return replace(
        source,
        seed=source.seed or tags.get(Tag.SEED),
        git_commit=source.git_commit or tags.get("mlflow.source.git.commit"),
        source=source.source or tags.get("mlflow.source.name"),
    )
