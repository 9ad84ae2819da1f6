"""The short form of `make history`; its figures are in benchmarks/history.md."""

import random
from urllib.parse import urlsplit

import pytest
from tests.history.chaos import Chaos
from tests.mlflow_server import MlflowServer


@pytest.mark.slow
def test_what_was_acknowledged_is_stored_once_whoever_is_killed(mlflow_server, tmp_path):
    server = MlflowServer(tmp_path / "unused")
    server.port, server.uri = urlsplit(mlflow_server).port, mlflow_server
    lots, mortal = random.Random(7), ("trainer", "shipper")
    chaos = Chaos(server, tmp_path / "chaos", lots, chance=0.1, mortal=mortal)
    verdict = chaos.run(3, pause=(1.0, 2.0))
    assert verdict.clean, verdict
    assert verdict.acknowledged > 300
