"""`backslide doctor`: what is wrong with the set-up of this machine, and the mend."""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import click
import requests

from backslide.contract import Tag
from backslide.ship.sync import default_folder
from backslide.spool.job import JOB, SHIPPER_LOCK, WRITER_LOCK, held
from backslide.spool.segments import used_bytes
from backslide_tracker.server import MINIMUM_MLFLOW, check_port, make_writable, state_home

PATIENCE_SECONDS = 5
OVERDUE_SECONDS = 600
"""A run that ended this long ago should have been judged."""


@dataclass(frozen=True)
class Check:
    """One thing looked at: whether it is right, what was seen, and the mend if it is not."""

    name: str
    ok: bool
    seen: str
    mend: str = ""

    def as_json(self) -> str:
        """One object; without a mend where nothing is to be mended."""
        return json.dumps(asdict(replace(self, mend="")) if self.ok else asdict(self))

    def as_line(self) -> str:
        """For people, in colour on a terminal."""
        mark = click.style("ok   ", fg="green") if self.ok else click.style("wrong", fg="red")
        line = f"{mark}  {self.name:<10} {self.seen}"
        return line if self.ok else f"{line}\n{'':>18}mend: {self.mend}"


def examine(tracking_uri: str) -> Iterator[Check]:
    """Looks at everything, nearest first: Python, disk, server, detector."""
    yield from _packages()
    yield _directory("state", state_home())
    yield from _spool(default_folder())
    server = _server(tracking_uri)
    yield server
    if server.ok:
        yield _detector(tracking_uri)
    elif urlsplit(tracking_uri).hostname in {"127.0.0.1", "localhost", "::1"}:
        yield _port(tracking_uri)


def _packages() -> Iterator[Check]:
    found = platform.python_version()
    yield Check("python", sys.version_info >= (3, 11), found, "install Python 3.11 or later")
    needed = ".".join(map(str, MINIMUM_MLFLOW))
    mlflow = _installed("mlflow-skinny") or "not installed"
    recent = mlflow[0].isdigit() and tuple(map(int, mlflow.split(".")[:2])) >= MINIMUM_MLFLOW
    yield Check("mlflow", recent, mlflow, f"pip install 'mlflow-skinny>={needed}'")
    torch = _installed("torch")
    yield Check("torch", ok=True, seen=torch or "not installed; only training needs it")


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _directory(name: str, directory: Path) -> Check:
    try:
        make_writable(directory)
    except click.ClickException as error:
        return Check(name, ok=False, seen=error.message, mend=f"chown or chmod {directory}")
    return Check(name, ok=True, seen=f"{directory} is writable")


def _spool(directory: Path) -> Iterator[Check]:
    writable = _directory("spool", directory)
    yield writable
    if writable.ok:
        jobs = {path.parent for path in directory.rglob(JOB)}
        lost = {
            job for job in jobs if not (held(job / WRITER_LOCK) or held(job / SHIPPER_LOCK))
        }
        size = sum(map(used_bytes, lost)) / 1e6
        yield Check(
            "left over",
            ok=not lost,
            seen=f"{len(lost)} killed or offline jobs left {size:.1f} MB unshipped"
            if lost
            else f"nothing; {len(jobs)} jobs are being shipped",
            mend="backslide sync",
        )


def _server(tracking_uri: str) -> Check:
    start = "start one with `backslide up`, or name yours in MLFLOW_TRACKING_URI"
    if not tracking_uri.startswith(("http://", "https://")):
        return Check("server", ok=False, seen=f"{tracking_uri} is not a server", mend=start)
    try:
        reply = requests.get(f"{tracking_uri}/version", timeout=PATIENCE_SECONDS)
    except requests.RequestException as error:
        seen = f"no answer from {tracking_uri} ({type(error).__name__})"
        return Check("server", ok=False, seen=seen, mend=start)
    answer = reply.text.strip()
    if reply.status_code != requests.codes.ok or not answer[:1].isdigit():
        seen = f"{tracking_uri} answers, but not as MLflow does (HTTP {reply.status_code})"
        return Check("server", ok=False, seen=seen, mend=start)
    recent = tuple(map(int, answer.split(".")[:2])) >= MINIMUM_MLFLOW
    needed = ".".join(map(str, MINIMUM_MLFLOW))
    seen = f"MLflow {answer} at {tracking_uri}"
    return Check("server", recent, seen, f"upgrade the server to MLflow {needed} or later")


def _port(tracking_uri: str) -> Check:
    address = urlsplit(tracking_uri)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    try:
        check_port(host, port)
    except click.ClickException as error:
        return Check("port", ok=False, seen=error.message, mend="`backslide up --port ...`")
    return Check("port", ok=True, seen=f"{port} is free")


def _detector(tracking_uri: str) -> Check:
    """Judged by its work: a run that ended a while ago has its verdict if a detector lives."""
    before = 1000 * int(time.time() - OVERDUE_SECONDS)
    overdue = (
        f"tags.`{Tag.SCHEMA}` IS NOT NULL AND tags.`{Tag.VERDICT}` IS NULL "
        f"AND attributes.end_time > 0 AND attributes.end_time < {before}"
    )
    try:
        experiments = _search(tracking_uri, "experiments", max_results=1000)
        ids = [experiment["experiment_id"] for experiment in experiments]
        runs = _search(
            tracking_uri, "runs", experiment_ids=ids, filter=overdue, max_results=100
        )
    except requests.RequestException as error:
        seen = f"the server refused to list runs: {error}"
        mend = "give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a token"
        return Check("detector", ok=False, seen=seen, mend=mend)
    if runs:
        late = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
        seen = f"{late} ended over {OVERDUE_SECONDS // 60} minutes ago without a verdict"
        mend = "start `backslide detector serve`, or read its log"
        return Check("detector", ok=False, seen=seen, mend=mend)
    return Check("detector", ok=True, seen="no run is waiting for a verdict")


def _search(tracking_uri: str, what: str, **query: object) -> list[dict[str, str]]:
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    reply = requests.post(
        f"{tracking_uri}/api/2.0/mlflow/{what}/search",
        json=query,
        auth=(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None,
        headers={"Authorization": f"Bearer {token}"} if token else None,
        timeout=4 * PATIENCE_SECONDS,
    )
    reply.raise_for_status()
    found: list[dict[str, str]] = reply.json().get(what, [])
    return found
