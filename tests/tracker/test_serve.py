"""`backslide tracker serve`: a real server started, stopped, killed; and what it refuses."""

import os
import signal
import socket
import sqlite3
import subprocess
import time

import pytest
import requests
from tests.mlflow_server import free_port
from tests.tracker.family import BACKSLIDE, Family


def serve(folder, *options, env=None) -> Family:
    return Family((*BACKSLIDE, "tracker", "serve", *map(str, options)), folder, env)


def refused(*options, env=None) -> str:
    """What one line a start that cannot work leaves on stderr."""
    began = time.monotonic()
    done = subprocess.run(
        (*BACKSLIDE, "tracker", "serve", *map(str, options)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **(env or {})},
    )
    assert time.monotonic() - began < 20
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.slow
def test_two_workers_stop_on_sigterm_and_leave_only_their_data(tmp_path):
    root, port = tmp_path / "root", free_port()
    with serve(tmp_path, "--root", root, "--port", port, "--workers", "2") as family:
        family.wait_until_ready()
        url = f"http://127.0.0.1:{port}"
        assert f"{url}/#/experiments?workflowType=machine_learning" in family.out()
        assert requests.get(f"{url}/version", timeout=10).text.startswith("3.")
        assert "No run has been judged yet" in requests.get(f"{url}/backslide", timeout=10).text
        assert len([line for line in family.members().values() if "spawn_main" in line]) == 2
        assert not any("huey" in line for line in family.members().values())  # no job runner
        family.member("mlflow server --app-name backslide --host 127.0.0.1")
        assert family.end(signal.SIGTERM) == 0
        assert family.members() == {}
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=10)
    with sqlite3.connect(root / "mlflow.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert root.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_the_death_of_the_server_process_ends_the_command(tmp_path, monkeypatch):
    (tmp_path / "mlflow.py").write_text("raise SystemExit('the wrong mlflow')")
    monkeypatch.chdir(tmp_path)  # what lies in the working directory is not run
    with serve(tmp_path, "--root", tmp_path / "root", "--port", free_port()) as family:
        family.wait_until_ready()
        os.kill(family.member("-m uvicorn"), signal.SIGKILL)
        assert family.process.wait(30) == 1
        family.wait_until_gone()
        assert "Error: the tracker ended" in family.err()


@pytest.mark.slow
def test_kill_9_of_mlflow_or_of_the_command_leaves_nothing(tmp_path):
    port = free_port()
    with serve(tmp_path / "a", "--root", tmp_path / "root", "--port", port) as family:
        family.wait_until_ready()
        os.kill(family.member("mlflow server"), signal.SIGKILL)
        assert family.process.wait(30) == 1
        family.wait_until_gone()
        assert "Error: the tracker was killed by SIGKILL" in family.err()
    with serve(tmp_path / "b", "--root", tmp_path / "root", "--port", port) as family:
        family.wait_until_ready()  # on the same database
        family.end(signal.SIGKILL)
        family.wait_until_gone()


def test_ctrl_c_during_the_start_ends_it(tmp_path):
    with serve(tmp_path, "--root", tmp_path / "root", "--port", free_port()) as family:
        family.wait_for(
            lambda: any("mlflow server" in line for line in family.members().values())
        )
        assert family.end(signal.SIGINT) == 0
        family.wait_until_gone()
        assert family.out() == ""


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert refused("--root", tmp_path, "--port", port) == (
            f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; "
            "stop what uses it or choose another address with --host and --port\n"
        )


def test_an_address_of_another_machine_is_named(tmp_path):
    said = refused("--root", tmp_path, "--port", free_port(), "--host", "192.0.2.1")
    assert "cannot listen on 192.0.2.1" in said


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "root"  # holds for root too, whom permissions do not stop
    assert refused("--root", root, "--port", free_port()) == (
        f"Error: cannot write to {root}: Not a directory; choose another place with --root\n"
    )


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nonsense", "cannot be parsed"),
        ("postgresql://u:s3cret@localhost:port/mlflow", "cannot be parsed"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1/ names none of them"),
        (
            "sqlite:////proc/nowhere/mlflow.db",
            "cannot use the database sqlite:////proc/nowhere",
        ),
        ("postgresql://u:s3cret@127.0.0.1:1/mlflow", "u:***@127.0.0.1:1/mlflow: connection to"),
    ],
)
def test_a_wrong_database_is_named_without_its_password(tmp_path, uri, said):
    variable = {"BACKSLIDE_TRACKER_BACKEND_STORE_URI": uri}
    stderr = refused("--root", tmp_path, "--port", free_port(), env=variable)
    assert said in stderr
    assert "s3cret" not in stderr


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_text(
        "not a database, but long enough to be read as one" * 20
    )
    said = refused("--root", tmp_path, "--port", free_port())
    assert said.endswith("mlflow.db: file is not a database\n")
