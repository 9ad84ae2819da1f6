"""The MLflow server: what can be wrong with its set-up, and the command that starts it."""

import os
import re
import shlex
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import requests

from backslide_tracker.processes import Command

APP = "backslide"
"""Name of the entry point in `mlflow.app` that adds the project's pages."""
MINIMUM_MLFLOW = (3, 17)
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
CONNECT_SECONDS = 5
IMPORTS = f"--app-dir {shlex.quote(str(Path(__file__).parents[1]))}"
"""Where uvicorn looks for modules first; left alone, it takes the working directory."""
LANDING = "#/experiments?workflowType=machine_learning"
"""Without the parameter a fresh browser lands on MLflow's page for language models."""


@dataclass(frozen=True)
class Server:
    """Where an MLflow server listens and keeps its data.

    Attributes:
        root: Directory of the embedded database and artifacts.
        host: Address to listen on.
        port: TCP port.
        backend_store_uri: SQLAlchemy URI; `None` means SQLite under `root`.
        artifacts_destination: Directory or object store; `None` means a directory under `root`.
        workers: Server processes. One is enough for SQLite, which has one writer anyway.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 5000
    backend_store_uri: str | None = None
    artifacts_destination: str | None = None
    workers: int = 1

    @property
    def url(self) -> str:
        """The base URL on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # read
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def private(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    @property
    def database(self) -> str:
        """The SQLAlchemy URI, with the PostgreSQL driver named."""
        uri = self.backend_store_uri or f"sqlite:///{self.root.absolute() / 'mlflow.db'}"
        # SQLAlchemy 2.1 takes a bare `postgresql` to mean psycopg 3, which is not installed.
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", uri)

    @property
    def artifacts(self) -> str:
        """Where artifacts go."""
        return self.artifacts_destination or str(self.root.absolute() / "artifacts")


def state_home() -> Path:
    """The user's directory for what the project keeps between runs."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "backslide"


def prepare(server: Server) -> None:
    """Checks in a moment all that a start could fail on, and makes the directories.

    Raises:
        click.ClickException: With one line that says what is wrong and what to do.
    """
    check_mlflow()
    check_port(server.host, server.port)
    if not (server.backend_store_uri and server.artifacts_destination):
        make_writable(server.root)
    if "://" not in server.artifacts:
        make_writable(Path(server.artifacts))
    check_database(server.database)


def command(server: Server, log: Path | None = None) -> Command:
    """The command that serves MLflow with the project's pages."""
    return Command(
        name="tracker",
        argv=(
            *(sys.executable, "-m", "mlflow", "server", "--app-name", APP),
            *("--host", server.host, "--port", str(server.port)),
            *("--workers", str(server.workers)),
            *("--artifacts-destination", server.artifacts),
            # An open browser tab must not hold up a stop, nor an access log fill the disk.
            *("--uvicorn-opts", f"--timeout-graceful-shutdown 5 --no-access-log {IMPORTS}"),
        ),
        env={
            # It may hold a password, and any user can read the arguments of a process.
            "MLFLOW_BACKEND_STORE_URI": server.database,
            # Eight idle processes for jobs that nothing here submits.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        },
        log=log,
        ready=lambda: answers(server.url),
    )


def announce(settings: Server, root: Path) -> Callable[[], None]:
    """Says that a server starts; the function, that it is ready and how to reach it."""
    began = time.monotonic()
    click.echo(f"starting MLflow {check_mlflow()} ...", err=True)
    if not settings.private:
        click.echo(
            f"listening on {settings.host}: who reaches port {settings.port} can read and "
            "change every run; put a proxy that asks for a password in front",
            err=True,
        )

    def ready() -> None:
        click.echo(f"ready after {time.monotonic() - began:.0f} s", err=True)
        click.echo(f"  runs      {settings.url}/{LANDING}")
        click.echo(f"  verdicts  {settings.url}/backslide")
        click.echo(f"  kept in   {root.absolute()}")
        click.echo(f"  to log    export MLFLOW_TRACKING_URI={settings.url}")
        click.echo("  to stop   Ctrl-C")

    return ready


def answers(url: str) -> bool:
    """Whether a healthy MLflow server answers at this base URL."""
    try:
        return requests.get(f"{url}/health", timeout=CONNECT_SECONDS).text == "OK"
    except requests.RequestException:
        return False


def check_mlflow() -> str:
    """The version of MLflow, if it is one that can serve."""
    try:
        found = version("mlflow")
    except PackageNotFoundError:
        raise click.ClickException(
            "the MLflow server is not installed; `pip install 'backslide[tracker]'`"
        ) from None
    if tuple(map(int, found.split(".")[:2])) < MINIMUM_MLFLOW:
        needed = ".".join(map(str, MINIMUM_MLFLOW))
        raise click.ClickException(
            f"MLflow {found} is too old, {needed} is needed; `pip install 'backslide[tracker]'`"
        )
    return found


def check_port(host: str, port: int) -> None:
    """Raises unless a server could listen at this address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "stop what uses it or choose another address with --host and --port"
        ) from error


def make_writable(directory: Path) -> None:
    """Makes a directory that only its owner can read; raises if it cannot be written to."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise click.ClickException(
            f"cannot write to {directory}: {error.strerror}; choose another place with --root"
        ) from error


def check_database(uri: str) -> None:
    """Connects once; a SQLite file is set to write-ahead logging, which then persists."""
    # Half a second of imports that `backslide doctor` can do without.
    from sqlalchemy import create_engine, make_url  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        url = make_url(uri)
    except (SQLAlchemyError, ValueError):  # the latter for a port that is no number
        raise click.ClickException(_wrong_uri("what was given cannot be parsed")) from None
    kind = url.get_backend_name()
    shown = url.render_as_string(hide_password=True)
    if kind not in DATABASES:
        raise click.ClickException(_wrong_uri(f"{shown} names none of them"))
    try:
        if kind == "sqlite":
            if url.database:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(url.database or "")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        else:
            options = {"connect_timeout": CONNECT_SECONDS} if kind == "postgresql" else {}
            create_engine(url, connect_args=options).connect().close()
    except (SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise click.ClickException(f"cannot use the database {shown}: {reason}") from error


def _wrong_uri(why: str) -> str:
    kinds = ", ".join(f"{name}://..." for name in DATABASES)
    return f"--backend-store-uri takes the URI of a database ({kinds}); {why}"
