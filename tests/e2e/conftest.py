"""A lineage as users make it, trained and judged once for all tests that look at it."""

from pathlib import Path

import pytest
from tests.e2e.commands import backslide, records, train


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the spool and the ledger lie."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def lineage(mlflow_server: str, home: Path) -> tuple[str, str]:
    """A first model and a retrain on data in which a third of the labels moved on by one."""
    first = train(mlflow_server, home, "--experiment", "main-job")
    second = train(
        mlflow_server, home, "--experiment", "main-job", "--seed", "1", "--swap", "0.6"
    )
    state = str(home / "ledger.db")
    done = backslide(mlflow_server, home, "detector", "scan", "--json", "--state", state)
    assert {first, second} <= records(done.stdout).keys()
    return first, second
