"""Which MLflow run and experiment this process has already been told to use."""

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Active:
    """What the user has told MLflow; this module never imports it.

    Attributes:
        tracking_uri: as set in the process; None when MLflow was not imported or not told.
        run_id: the run to join; None to create one.
        ours: the run was named by MLFLOW_RUN_ID and nobody in this process has started it.
        experiment: by name.
        experiment_id: by id.
    """

    tracking_uri: str | None = None
    run_id: str | None = None
    ours: bool = False
    experiment: str | None = None
    experiment_id: str | None = None

    @classmethod
    def find(cls, tracking_uri: str | None) -> "Active":
        """Looks at MLflow, if the user has imported it, and at its environment.

        Args:
            tracking_uri: where the new run is to go; None for wherever MLflow's own would.
        """
        named = os.environ.get("MLFLOW_RUN_ID") or None
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
        number = os.environ.get("MLFLOW_EXPERIMENT_ID")
        environment = cls(None, named, named is not None, name, number)
        mlflow = sys.modules.get("mlflow")
        if mlflow is None:
            return environment
        try:
            uri = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
            run = mlflow.active_run()
            if run is not None and tracking_uri in (None, mlflow.get_tracking_uri()):
                return cls(mlflow.get_tracking_uri(), run.info.run_id)
            chosen = mlflow.tracking.fluent._active_experiment_id  # noqa: SLF001  # there is no public way
        except Exception:  # noqa: BLE001  # another MLflow than we know: go by the environment
            return environment
        return cls(uri, named, named is not None, None if chosen else name, chosen or number)
