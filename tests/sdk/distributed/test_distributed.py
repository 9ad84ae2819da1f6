"""Two processes over gloo: one run, reduced gradients, the same training as without."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tests.mlflow_server import free_port
from tests.sdk.ship import tools


def train(kind: str, uri: str, spool: Path) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    port = str(free_port())
    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    said = tools.together(
        2 * [["-m", "tests.sdk.distributed.job", kind]],
        [
            tools.environment(uri, spool, RANK=rank, LOCAL_RANK=rank, **both)
            for rank in ("0", "1")
        ],
    )
    return [json.loads(output.splitlines()[-1]) for output in said]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_are_one_run_and_train_as_without(kind, mlflow_server, tmp_path):
    ranks = train(kind, mlflow_server, tmp_path / "spool")
    first, second = (rank["watched"] for rank in ranks)
    alone = ranks[0]["alone"]
    assert (first["weights"], first["random"]) == (alone["weights"], alone["random"])
    assert second["faults"] == {}
    tools.wait_until(lambda: not tools.spools(tmp_path / "spool"))

    client = MlflowClient(mlflow_server)
    run = client.get_run(first["id"])
    assert run.info.status == "FINISHED"
    same = client.search_runs([run.info.experiment_id], f"tags.`backslide.lineage` = '{kind}'")
    assert len(same) == 1
    norms = [each.value for each in client.get_metric_history(first["id"], "gradient/norm")]
    files = {item.path for item in client.list_artifacts(first["id"], "backslide/predictions")}
    probed = {item.path for item in client.list_artifacts(first["id"], "backslide/probe")}
    assert norms == pytest.approx(first["norms"], rel=1e-5)
    if kind == "ddp":
        assert first["faults"] == {}
        assert files == {"backslide/predictions/test.parquet"}
        assert "backslide/probe/codes.parquet" in probed
    else:  # the part that lies on this process, and the run says so
        assert len(first["faults"]) == 3
        assert any("is sharded over processes" in kind for kind in first["faults"])
        assert {"evaluate", "probe"} <= set(first["faults"])
        assert files == probed == set()
