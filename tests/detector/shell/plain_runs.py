"""Runs without the SDK, as any job with the plain client leaves them."""

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus

from backslide.contract import Tag


def log_run(
    client: MlflowClient,
    experiment: str,
    error: float | None,
    *,
    lineage: str | None = "plain",
    status: str | None = "FINISHED",
    steps: int = 20,
    name: str | None = None,
) -> str:
    """Logs a falling loss, a test error and the number of test examples."""
    tags = {} if lineage is None else {Tag.LINEAGE: lineage}
    store = client._tracking_client.store  # `set_terminated` greets on stdout
    run = client.create_run(experiment, tags=tags, run_name=name)
    start = run.info.start_time
    metrics = [Metric("loss", 2.3 * 0.9**n, start + n, n) for n in range(steps)]
    if error is not None:
        metrics.append(Metric("test_error", error, start, 0))
    params = [Param("test_examples", "2000")]
    client.log_batch(run.info.run_id, metrics=metrics[:1_000], params=params)
    for begin in range(1_000, len(metrics), 1_000):
        client.log_batch(run.info.run_id, metrics=metrics[begin : begin + 1_000])
    if status is not None:
        store.update_run_info(
            run.info.run_id, RunStatus.from_string(status), start + 1_000, None
        )
    return run.info.run_id
