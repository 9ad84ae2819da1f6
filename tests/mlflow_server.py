"""A real MLflow tracking server as a child process, which tests may kill and start again."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

import requests

START_SECONDS = 120.0


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """MLflow's server with local artifacts below `root`, on SQLite in WAL mode or on `store`.

    It is what `mlflow server` starts in the end, without the seconds that command takes first;
    the tests of the tracker go the whole way. The database outlives `kill`: `start` brings it
    back on the same port.
    """

    def __init__(self, root: Path, store: str | None = None) -> None:
        self.root = root
        self.store = store
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        database = self.root / "mlflow.db"
        if self.store is None:
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # persists in the file
        command = [
            *(sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--no-access-log"),
        ]
        environment = os.environ | {
            "_MLFLOW_SERVER_FILE_STORE": self.store or f"sqlite:///{database}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.root / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "OMP_NUM_THREADS": "1",
        }
        with (self.root / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=self.root,
                start_new_session=True,  # one group, so that workers die with it
            )

    def wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with suppress(requests.RequestException):
                if requests.get(self.uri + "/health", timeout=2).ok:
                    return
            time.sleep(0.2)
        log = (self.root / "server.log").read_text(errors="replace")[-4_000:]
        raise RuntimeError(f"mlflow server did not come up on {self.uri}:\n{log}")

    def kill(self) -> None:
        """kill -9, the whole process group."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
