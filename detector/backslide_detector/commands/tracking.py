"""The tracking server of the settings, and a run on it by its id."""

from backslide_detector.errors import UserError
from backslide_detector.evidence import RunHead
from backslide_detector.settings import Settings
from backslide_detector.store.server import MlflowStore


def open_store(settings: Settings) -> MlflowStore:
    """The tracking server of the settings."""
    return MlflowStore(settings.tracking_uri, settings.experiments, settings.metrics)


def find_run(store: MlflowStore, run_id: str) -> RunHead:
    """The run with this id.

    Raises:
        UserError: there is none.
    """
    found = store.heads([run_id])
    if not found:
        raise UserError(f"there is no run {run_id!r} on this server")
    return found[0]
