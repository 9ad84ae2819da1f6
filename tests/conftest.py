"""Fixtures that every room's tests may use."""

import os
from collections.abc import Iterator

import pytest
from tests.mlflow_server import MlflowServer, free_port
from tests.tracker.family import BACKSLIDE, Family

# Read when a client is made. MLflow's telemetry sets and unsets a variable of this process from
# several threads, so that a request can fail with a KeyError; and tests tell nobody anything.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: what starts last keeps one core waiting for the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Tracking URI of one real MLflow server (SQLite in WAL mode, local artifacts)."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server.uri


@pytest.fixture(scope="session")
def tracker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of `backslide tracker serve` on an empty root."""
    folder, port = tmp_path_factory.mktemp("tracker"), free_port()
    serve = ("tracker", "serve", "--root", str(folder / "root"), "--port", str(port))
    with Family((*BACKSLIDE, *serve), folder) as family:
        family.wait_until_ready()
        yield f"http://127.0.0.1:{port}"
