"""`backslide doctor` on set-ups with one thing wrong each."""

import json
import os
import shutil
import subprocess

import pytest
from mlflow import MlflowClient
from pytest_httpserver import HTTPServer
from tests.mlflow_server import free_port
from tests.tracker.family import BACKSLIDE

from backslide.contract import Tag
from backslide.spool.frames import Kind
from backslide.spool.job import WRITER_LOCK, Job, Lock
from backslide.spool.segments import Spool
from backslide_tracker.doctor import OVERDUE_SECONDS


@pytest.fixture
def doctor(tmp_path):
    def run(tracking_uri: str, **env: str) -> tuple[int, dict[str, dict]]:
        done = subprocess.run(
            (*BACKSLIDE, "doctor", "--json", "--tracking-uri", tracking_uri),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), **env},
        )
        assert done.stderr == ""
        checks = [json.loads(line) for line in done.stdout.splitlines()]
        for check in checks:
            assert check["seen"]
            assert bool(check["mend"]) is not check["ok"], "a mend exactly where it is needed"
        return done.returncode, {check["name"]: check for check in checks}

    return run


def wrong(checks: dict[str, dict]) -> list[str]:
    return [name for name, check in checks.items() if not check["ok"]]


def test_all_is_well_beside_a_running_tracker(doctor, tracker_url):
    code, checks = doctor(tracker_url)
    assert wrong(checks) == []
    assert code == 0
    assert list(checks) == [
        *("python", "mlflow", "torch", "state", "spool", "left over", "server", "detector")
    ]
    assert checks["server"]["seen"].startswith("MLflow 3.")


def test_no_server_on_a_free_port(doctor):
    code, checks = doctor(f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert wrong(checks) == ["server"]
    assert "backslide up" in checks["server"]["mend"]


def test_something_else_listens_where_the_server_should(doctor, httpserver: HTTPServer):
    httpserver.expect_request("/version").respond_with_data("<html>hello</html>")
    code, checks = doctor(httpserver.url_for("").rstrip("/"))
    assert code == 1
    assert wrong(checks) == ["server", "port"]
    assert "answers, but not as MLflow does" in checks["server"]["seen"]


def test_a_server_too_old(doctor, httpserver: HTTPServer):
    httpserver.expect_request("/version").respond_with_data("2.22.0")
    _, checks = doctor(httpserver.url_for("").rstrip("/"))
    assert "upgrade the server to MLflow 3.17" in checks["server"]["mend"]


def test_a_server_that_wants_a_password(doctor, httpserver: HTTPServer):
    httpserver.expect_request("/version").respond_with_data("3.17.2")
    search = "/api/2.0/mlflow/experiments/search"
    httpserver.expect_request(search).respond_with_data("", status=401)
    _, checks = doctor(httpserver.url_for("").rstrip("/"))
    assert wrong(checks) == ["detector"]
    assert "MLFLOW_TRACKING_PASSWORD" in checks["detector"]["mend"]


def test_a_tracking_uri_that_is_no_server(doctor):
    _, checks = doctor("sqlite:///mlflow.db")
    assert checks["server"]["seen"] == "sqlite:///mlflow.db is not a server"


def test_what_a_killed_job_left_is_found_and_a_living_one_left_alone(
    doctor, tracker_url, tmp_path
):
    for name in ("killed", "training"):
        folder = tmp_path / "spool" / name
        folder.mkdir(parents=True)
        Job(client=name, lineage="digits", started=0).write(folder)
        spool = Spool(folder)
        spool.append(Kind.SCALARS, bytes(1_000_000))
        spool.close()
    lock = Lock(tmp_path / "spool" / "training" / WRITER_LOCK)
    assert lock.acquire()
    env = {"BACKSLIDE_SPOOL_DIR": str(tmp_path / "spool")}
    code, checks = doctor(tracker_url, **env)
    assert code == 1
    assert wrong(checks) == ["left over"]
    assert checks["left over"]["seen"] == "1 killed or offline jobs left 1.0 MB unshipped"
    assert checks["left over"]["mend"] == "backslide sync"
    shutil.rmtree(tmp_path / "spool" / "killed")
    assert doctor(tracker_url, **env)[0] == 0
    lock.release()


def test_a_spool_that_cannot_be_written(doctor, tracker_url, tmp_path):
    (tmp_path / "file").touch()
    _, checks = doctor(tracker_url, BACKSLIDE_SPOOL_DIR=str(tmp_path / "file" / "spool"))
    assert wrong(checks) == ["spool"]


def test_a_run_that_nobody_judges(doctor, tracker_url):
    client = MlflowClient(tracker_url)
    run = client.create_run(client.create_experiment("unjudged")).info.run_id
    client.set_tag(run, Tag.SCHEMA, "1")
    client.set_terminated(run)
    assert wrong(doctor(tracker_url)[1]) == []  # it may still be on its way
    long_ago = client.get_run(run).info.end_time - 1000 * (OVERDUE_SECONDS + 60)
    client.set_terminated(run, end_time=long_ago)
    code, checks = doctor(tracker_url)
    assert code == 1
    assert checks["detector"]["seen"].startswith("1 run ended over 10 minutes ago")
    client.delete_run(run)


def test_people_get_a_table(tracker_url, tmp_path):
    done = subprocess.run(
        (*BACKSLIDE, "doctor", "--tracking-uri", f"http://127.0.0.1:{free_port()}"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "ok     python " in done.stdout
    assert "wrong  server " in done.stdout
    assert "mend: start one with `backslide up`" in done.stdout
