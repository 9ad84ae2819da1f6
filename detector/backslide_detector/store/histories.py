"""Metrics as MLflow keeps them, row by row."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from mlflow.entities import Run
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from backslide.contract import Metric
from backslide_detector.evidence import Series

KEYS: Final = 300
WINDOW_ROWS: Final = 2_500
"""`get-history-bulk-interval` is exact up to this many rows and samples beyond."""
HISTORY_ROWS: Final = 200_000
"""Of one metric, from MLflow; the SDK keeps longer ones in Parquet."""

OWN_METRICS: Final = frozenset(
    {Metric.ERROR_DELTA, Metric.ERROR_DELTA_LOW, Metric.ERROR_DELTA_HIGH, Metric.EVIDENCE}
)
"""What the detector writes, so no evidence."""

SYSTEM: Final = "system/"
"""Before MLflow's own metrics of the machine, which change all the time."""

_INTERVAL: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"


def histories(
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
    found = {key: _history(uri, run_id, key, newest[key], problems) for key in wanted[:KEYS]}
    ahead = [
        key
        for key in sorted(newest.keys() & known.keys())
        if len(known[key]) and newest[key] > known[key].steps[-1]
    ]
    for key in ahead[:KEYS]:
        seen = known[key]
        rows = _window(uri, run_id, key, (int(seen.steps[-1]) + 1, newest[key]))
        found[key] = _joined(seen, _series(rows))
    return found


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
