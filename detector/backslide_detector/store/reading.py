"""One run of an MLflow server -> frozen evidence."""

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from backslide.contract import Artifact, Metric, Role, Tag
from backslide_detector import names
from backslide_detector.evidence import DataSummary, Provenance, RunEvidence, RunHead, Series
from backslide_detector.probe import Inside
from backslide_detector.store import documents, tables
from backslide_detector.store.batches import read_batches
from backslide_detector.store.graph import read_graph
from backslide_detector.store.kept import place_of
from backslide_detector.store.probe import read_probe
from backslide_detector.store.sketches import read_sketch

KEYS: Final = 300
WINDOW_ROWS: Final = 2_500
"""`get-history-bulk-interval` is exact up to this many rows and samples beyond."""
HISTORY_ROWS: Final = 200_000
"""Of one metric, from MLflow; the SDK keeps longer ones in Parquet."""
FILES: Final = 2_000
FILE_BYTES: Final = 1_000_000_000

OWN_METRICS: Final = frozenset(
    {Metric.ERROR_DELTA, Metric.ERROR_DELTA_LOW, Metric.ERROR_DELTA_HIGH, Metric.EVIDENCE}
)
"""What the detector writes, so no evidence."""

SYSTEM: Final = "system/"
"""Before MLflow's own metrics of the machine, which change all the time."""

_INTERVAL: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
_FILE_NAME: Final = re.compile(r"[^/\\\x00]{1,250}\.(?:parquet|json)")
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
        files = _download(uri, run, Path(folder), problems, kept=kept)
        scalars = tables.read_scalars(_below(files, Artifact.SCALARS), problems)
        said = _object(files, Artifact.GRAPH, problems)
        graph = read_graph(said, problems)
        kinds = {} if graph is None else graph.kinds
        layers = tables.read_layers(_below(files, Artifact.LAYERS), kinds, problems)
        probe = read_probe(_named(files, Artifact.PROBE), problems)
        batches = read_batches(_below(files, Artifact.BATCHES), problems)
        predictions = {
            path.stem: table
            for path in _below(files, Artifact.PREDICTIONS)
            if (table := tables.read_predictions(path, problems)) is not None
        }
        data = _inputs(run) | _summaries(_below(files, Artifact.DATA), problems)
        provenance = documents.provenance(_object(files, Artifact.PROVENANCE, problems))
    series = scalars | _histories(uri, run, scalars, problems)
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
        files = _download(uri, run, Path(folder), unread, _INSIDE)
        probe = read_probe(_named(files, Artifact.PROBE), unread)
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


def _download(
    uri: str,
    run: Run,
    folder: Path,
    problems: list[str],
    places: Iterable[str] = _FOLDERS,
    *,
    kept: Path | None = None,
) -> dict[str, Path]:
    """The SDK's files, by artifact path; local names are ours, whatever theirs are."""
    repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=uri)
    listed = {item.path: item for item in repository.list_artifacts(Artifact.ROOT)}
    found = [item for item in listed.values() if not item.is_dir]
    for place in places:
        if place in listed:
            found += [item for item in repository.list_artifacts(place) if not item.is_dir]
    if len(found) > FILES:
        problems.append(f"{len(found)} artifacts; only the first {FILES} were read")
    files: dict[str, Path] = {}
    for item in sorted(found, key=lambda item: item.path)[:FILES]:
        base = item.path.rpartition("/")[2]
        if item.path in (Artifact.VERDICT, Artifact.REPORT) or not _FILE_NAME.fullmatch(base):
            continue
        if (item.file_size or 0) > FILE_BYTES:
            problems.append(f"{item.path}: {item.file_size:,} bytes; too large to be read")
            continue
        here = place_of(kept, item.path, item.file_size)
        if here is not None and here.exists():
            files[item.path] = here
            continue
        local = folder / str(len(files))
        local.mkdir()
        file = Path(repository.download_artifacts(item.path, dst_path=str(local)))
        if here is not None:
            here.parent.mkdir(exist_ok=True)
            file = file.replace(here)
        files[item.path] = file
    return files


def _below(files: Mapping[str, Path], place: str) -> list[Path]:
    return [path for name, path in sorted(files.items()) if name.startswith(place + "/")]


def _named(files: Mapping[str, Path], place: str) -> dict[str, Path]:
    """The files of a folder by their own names."""
    start = place + "/"
    return {
        name.removeprefix(start): path for name, path in files.items() if name.startswith(start)
    }


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


def _histories(
    uri: str, run: Run, known: Mapping[str, Series], problems: list[str]
) -> dict[str, Series]:
    """Metrics that are not `known`, and the newest points of those that are.

    Parts come minutes apart in a long run, rows of metrics within a second or two.
    """
    run_id = run.info.run_id
    newest = {
        metric.key: metric.step
        for metric in run.data.to_proto().metrics
        if metric.key not in OWN_METRICS and not metric.key.startswith(SYSTEM)
    }
    wanted = sorted(newest.keys() - known.keys())
    if len(wanted) > KEYS:
        problems.append(f"{len(wanted)} metrics; only the first {KEYS} by name were read")
    histories = {
        key: _history(uri, run_id, key, newest[key], problems) for key in wanted[:KEYS]
    }
    ahead = [
        key
        for key in sorted(newest.keys() & known.keys())
        if len(known[key]) and newest[key] > known[key].steps[-1]
    ]
    for key in ahead[:KEYS]:
        seen = known[key]
        rows = _window(uri, run_id, key, (int(seen.steps[-1]) + 1, newest[key]))
        histories[key] = _joined(seen, _series(rows))
    return histories


def _history(uri: str, run_id: str, key: str, last_step: int, problems: list[str]) -> Series:
    """All rows of one metric, in windows that the server answers exactly."""
    rows = _window(uri, run_id, key, None)
    if len(rows) >= WINDOW_ROWS:
        rows = []
        windows = [(min(0, last_step), last_step)]
        while windows and len(rows) < HISTORY_ROWS:
            low, high = windows.pop()
            part = _window(uri, run_id, key, (low, high))
            if len(part) >= WINDOW_ROWS and low < high:
                middle = (low + high) // 2
                windows += [(middle + 1, high), (low, middle)]
            else:
                rows += part
        if windows:
            problems.append(f"metric {key}: only the first {len(rows):,} rows were read")
    return _series(rows)


def _series(rows: list[tuple[int, int, float]]) -> Series:
    """Of (step, timestamp in ms, value), in any order."""
    rows.sort()
    step, time, value = zip(*rows, strict=True) if rows else ((), (), ())
    return Series(
        np.array(step, dtype=np.int64),
        np.array(value, dtype=np.float64),
        np.array(time, dtype=np.float64) / 1_000.0,
    )


def _joined(first: Series, then: Series) -> Series:
    return Series(
        np.concatenate([first.steps, then.steps]),
        np.concatenate([first.values, then.values]),
        np.concatenate([first.times, then.times]),
    )


def _window(
    uri: str, run_id: str, key: str, steps: tuple[int, int] | None
) -> list[tuple[int, int, float]]:
    """(step, timestamp in ms, value) of at most `WINDOW_ROWS` rows."""
    params: dict[str, object] = {
        "run_ids": run_id,
        "metric_key": key,
        "max_results": WINDOW_ROWS,
    }
    if steps is not None:
        params |= {"start_step": steps[0], "end_step": steps[1]}
    answer = http_request(get_default_host_creds(uri), _INTERVAL, "GET", params=params)
    metrics = verify_rest_response(answer, _INTERVAL).json().get("metrics", [])
    # Integers and NaN come as strings: protobuf's JSON.
    return [
        (int(row.get("step", 0)), int(row["timestamp"]), float(row.get("value", 0.0)))
        for row in metrics
    ]
