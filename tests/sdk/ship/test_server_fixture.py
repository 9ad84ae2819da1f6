import requests


def test_a_stock_server_answers(mlflow_server):
    """Experiment 0 exists on a fresh server, so the database behind it is up as well."""
    answer = requests.get(
        mlflow_server + "/api/2.0/mlflow/experiments/get",
        params={"experiment_id": "0"},
        timeout=30,
    )
    assert answer.json()["experiment"]["name"] == "Default"
