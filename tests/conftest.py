"""Fixtures that every room's tests may use."""

from collections.abc import Iterator

import pytest
from tests.mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Tracking URI of one real MLflow server (SQLite in WAL mode, local artifacts)."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server.uri
