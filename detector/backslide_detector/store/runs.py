"""Searching a server: MLflow wants its experiments named, and answers in pages."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Run

PAGE: Final = 1_000


class Runs:
    """The runs of the experiments that are watched."""

    def __init__(self, client: MlflowClient, experiments: Sequence[str]) -> None:
        """Of the named experiments, or of all."""
        self._client = client
        self._names = frozenset(experiments)
        self._experiments: list[tuple[str, str]] = []

    def list_experiments(self) -> None:
        """A search must name its experiments; new ones are known after this."""
        found = _paged(
            lambda token: self._client.search_experiments(max_results=PAGE, page_token=token)
        )
        self._experiments = [(item.experiment_id, item.name) for item in found]

    def search(self, text: str, order: str, limit: int | None = None) -> list[Run]:
        """Those of the watched experiments that pass a filter."""
        if not self._experiments:
            self.list_experiments()
        watched = [
            key for key, name in self._experiments if not self._names or name in self._names
        ]
        return self._search(watched, text, order, limit)

    def by_id(self, run_ids: Sequence[str]) -> list[Run]:
        """The runs with these ids, of whatever experiment."""
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        every = [key for key, _ in self._experiments]
        text = f"attributes.run_id IN ({listed})"
        return self._search(every, text, "attributes.start_time ASC")

    def models(self, run_ids: Sequence[str]) -> dict[str, str]:
        """The registered model that each run's model went to."""
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        versions = self._client.search_model_versions(f"run_id IN ({listed})")
        return {version.run_id: version.name for version in versions}

    def _search(
        self, experiments: list[str], text: str, order: str, limit: int | None = None
    ) -> list[Run]:
        if not experiments:
            return []
        found = _paged(
            lambda token: self._client.search_runs(
                experiments,
                filter_string=text,
                max_results=min(limit or PAGE, PAGE),
                order_by=[order],
                page_token=token,
            )
        )
        return list(islice(found, limit))


def _paged(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    """Everything behind MLflow's page tokens."""
    token: str | None = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token
        if not token:
            return
