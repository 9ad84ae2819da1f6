"""A running job that falls ill: how soon it is told, and that all of it is taken back."""

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow import MlflowClient
from tests.e2e.commands import HOUSE, environment

from backslide.contract import Tag

EVERY = 3.0
MARGIN = 8.0
"""For a busy machine: the shipper's second, a pass of the detector, and what else runs."""


class Receiver:
    """A webhook that keeps what it is posted."""

    def __init__(self) -> None:
        received: list[dict[str, object]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.received = received
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Job:
    """The job, its detector, and what the test saw of both."""

    def __init__(
        self, uri: str, home, receiver: Receiver, fault: str = "nan", every: float = EVERY
    ) -> None:
        self.uri, self.home, self.receiver, self.every = uri, home, receiver, every
        self.experiment = f"live-{uuid.uuid4().hex}"
        self.client = MlflowClient(uri)
        self.client.create_experiment(self.experiment)
        self.detector = self.serve()
        self.process = self._start("tests.e2e.live_job", self.experiment, fault)
        self.lines: list[list[str]] = []
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.split())

    def _start(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        more = {
            "BACKSLIDE_EXPERIMENTS": self.experiment,
            "BACKSLIDE_WORKERS": "1",
            "BACKSLIDE_WEBHOOK_URL": self.receiver.url,
        }
        with (self.home / f"{module}.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=environment(self.uri, self.home) | more,
                cwd=HOUSE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def serve(self) -> "subprocess.Popen[str]":
        state = str(self.home / "ledger.db")
        words = ("detector", "serve", "--every", str(self.every), "--state", state)
        return self._start("backslide.cli", *words)

    def said(self, word: str, nth: int = 0) -> float:
        """When the job said it; waits for that."""
        deadline = time.monotonic() + 120
        while True:
            found = [float(line[2]) for line in self.lines if line[0] == word]
            if len(found) > nth:
                return found[nth]
            assert self.process.poll() in (None, 0), self._logs()
            assert time.monotonic() < deadline, f"{word} was not said\n{self._logs()}"
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(path.read_text()[-3_000:] for path in self.home.glob("*.log"))

    def tags(self) -> dict[str, str]:
        (run_id,) = [line[1] for line in list(self.lines) if line[0] == "run"]
        return dict(self.client.get_run(run_id).data.tags)

    def wait_for(self, what: Callable[[], bool]) -> float:
        """When it was so."""
        deadline = time.monotonic() + 20 * self.every
        while not what():
            assert time.monotonic() < deadline, f"{self.tags()}\n{self._logs()}"
            time.sleep(0.1)
        return time.time()

    def tagged(self, wanted: Callable[[dict[str, str]], bool]) -> float:
        """When the tags were as wanted."""
        return self.wait_for(lambda: wanted(self.tags()))

    def told(self) -> list[object]:
        return [alert["type"] for alert in self.receiver.received]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.listener.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.detector.kill()
        self.detector.communicate()
        self.receiver.server.shutdown()
        self.receiver.server.server_close()


@pytest.fixture
def job(mlflow_server, tmp_path):
    job = Job(mlflow_server, tmp_path, Receiver())
    yield job
    job.end()


@pytest.mark.slow
def test_a_fault_is_told_in_time_and_withdrawn_when_it_clears(job):
    ill = job.said("ill")
    told = job.tagged(lambda tags: "nan-or-inf" in tags.get(Tag.FINDINGS, ""))
    assert told - ill < 2 * EVERY + MARGIN
    tags = job.tags()
    assert tags[Tag.HEALTH] == "failing"
    assert "nan-or-inf" in tags[Tag.STOP]
    assert "nan-or-inf" in tags[Tag.NOTE]
    asked = job.said("asked")

    cleared = job.tagged(lambda tags: Tag.STOP not in tags)
    assert job.said("released")
    assert job.process.wait(timeout=60) == 0
    job.tagged(lambda tags: Tag.VERDICT in tags)
    tags = job.tags()
    assert tags[Tag.HEALTH] != "failing"
    assert not {Tag.STOP, Tag.FINDINGS} & set(tags)
    assert "no longer finite" not in tags[Tag.NOTE].lower()
    job.wait_for(lambda: len(job.told()) > 1)
    time.sleep(EVERY)
    assert job.told() == ["run.failing", "run.cleared"]
    print(
        f"told {told - ill:.1f} s, asked to stop {asked - ill:.1f} s after the fault; cleared "
        f"{cleared - asked:.1f} s after the mend"
    )
