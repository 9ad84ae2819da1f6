"""Tracker and detector, started the way a user would: `backslide up`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

PREFERRED_PORT = 5000
START_SECONDS = 180


@contextmanager
def services(root: Path, webhook: str, secret: str) -> Iterator[str]:
    """Runs `backslide up` below `root` and yields the tracking URI.

    Raises:
        RuntimeError: when it does not come up; the message holds the end of its log.
    """
    port = _free_port()
    uri = f"http://127.0.0.1:{port}"
    settings = {
        "BACKSLIDE_EVERY": "3",
        "BACKSLIDE_WEBHOOK_URL": webhook,
        "BACKSLIDE_WEBHOOK_SECRET": secret,
    }
    root.mkdir(parents=True, exist_ok=True)
    log = root / "up.log"
    command = [sys.executable, "-m", "backslide.cli", "up", "--root", str(root)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, uri, log)
        yield uri
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_ready(process: subprocess.Popen[bytes], uri: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise RuntimeError(f"`backslide up` did not start:\n{log.read_text()[-2_000:]}")


def _free_port() -> int:
    for port in (PREFERRED_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError("no free port on 127.0.0.1")
