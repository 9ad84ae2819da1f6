"""`backslide tracker serve`, `backslide up` and `backslide doctor` as the shell sees them.

Every command imports what it needs when it runs: `backslide --help` loads all of this file.
"""
# ruff: noqa: PLC0415  # the imports in functions, for this reason

import sys
from pathlib import Path
from typing import TextIO

import click


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
    from backslide_tracker import server
    from backslide_tracker.processes import supervise

    if backend_store_uri_file is not None:
        backend_store_uri = backend_store_uri_file.read().strip()
    settings = server.Server(
        root or server.state_home() / "tracker",
        host,
        port,
        backend_store_uri,
        artifacts_destination,
        workers,
    )
    server.prepare(settings)
    supervise([server.command(settings)], server.announce(settings, settings.root))


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
    from backslide_tracker import server
    from backslide_tracker.processes import supervise
    from backslide_tracker.up import commands

    home = root or server.state_home()
    server.make_writable(home)
    settings = server.Server(home / "tracker", host, port)
    server.prepare(settings)
    supervise(commands(settings, home), server.announce(settings, home))


@click.command()
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    default="http://127.0.0.1:5000",
    show_default=True,
    help="The MLflow server.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check.")
def doctor(tracking_uri: str, as_json: bool) -> None:
    """Say what is wrong with the set-up, and the mend. Exits 1 if anything is."""
    from backslide_tracker.doctor import examine

    checks = list(examine(tracking_uri.rstrip("/")))
    for check in checks:
        click.echo(check.as_json() if as_json else check.as_line())
    sys.exit(0 if all(check.ok for check in checks) else 1)
