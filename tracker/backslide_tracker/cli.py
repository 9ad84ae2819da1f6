"""`backslide tracker serve`, `backslide up`, `backslide doctor`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click

from backslide_tracker import server
from backslide_tracker import up as together
from backslide_tracker.doctor import doctor
from backslide_tracker.processes import supervise
from backslide_tracker.server import LANDING, Server, state_home

__all__ = ["doctor", "tracker", "up"]


@click.group()
def tracker() -> None:
    """The MLflow server, with the project's pages."""


@tracker.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    envvar="BACKSLIDE_TRACKER_ROOT",
    show_envvar=True,
    show_default="$XDG_STATE_HOME/backslide/tracker",
    help="Directory of the database and artifacts.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="TCP port."
)
@click.option(
    "--backend-store-uri",
    envvar="BACKSLIDE_TRACKER_BACKEND_STORE_URI",
    show_envvar=True,
    help="SQLAlchemy URI of the database.  [default: SQLite below the root]",
)
@click.option(
    "--backend-store-uri-file",
    type=click.File(),
    envvar="BACKSLIDE_TRACKER_BACKEND_STORE_URI_FILE",
    show_envvar=True,
    help="File that holds the URI, because a URI with a password is a secret.",
)
@click.option(
    "--artifacts-destination",
    envvar="BACKSLIDE_TRACKER_ARTIFACTS_DESTINATION",
    show_envvar=True,
    help="Directory or object store (s3://...) of the artifacts.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Server processes; more than one only helps with PostgreSQL.",
)
def serve(
    *,
    root: Path | None,
    host: str,
    port: int,
    backend_store_uri: str | None,
    backend_store_uri_file: TextIO | None,
    artifacts_destination: str | None,
    workers: int,
) -> None:
    """Run the MLflow server alone, until Ctrl-C."""
    if backend_store_uri_file is not None:
        backend_store_uri = backend_store_uri_file.read().strip()
    settings = Server(
        root or state_home() / "tracker",
        host,
        port,
        backend_store_uri,
        artifacts_destination,
        workers,
    )
    server.prepare(settings)
    supervise([server.command(settings)], _announce(settings, settings.root))


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    show_default="$XDG_STATE_HOME/backslide",
    help="Directory of everything that is kept, and of the logs.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="TCP port."
)
def up(root: Path | None, host: str, port: int) -> None:
    """Run tracker and detector together; one Ctrl-C stops both."""
    home = root or state_home()
    server.make_writable(home)
    settings = Server(home / "tracker", host, port)
    server.prepare(settings)
    commands = together.commands(settings, home)
    supervise(commands, _announce(settings, home))


def _announce(settings: Server, root: Path) -> Callable[[], None]:
    began = time.monotonic()
    click.echo(f"starting MLflow {server.check_mlflow()} ...", err=True)
    if not settings.private:
        click.echo(
            f"listening on {settings.host}: who reaches port {settings.port} can read and "
            "change every run; put a proxy that asks for a password in front",
            err=True,
        )

    def announce() -> None:
        click.echo(f"ready after {time.monotonic() - began:.0f} s", err=True)
        click.echo(f"  runs      {settings.url}/{LANDING}")
        click.echo(f"  verdicts  {settings.url}/backslide")
        click.echo(f"  kept in   {root.absolute()}")
        click.echo(f"  to log    export MLFLOW_TRACKING_URI={settings.url}")
        click.echo("  to stop   Ctrl-C")

    return announce
