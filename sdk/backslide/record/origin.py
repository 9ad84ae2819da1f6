"""What a run came from, recorded as it becomes known: early what is quick, later the rest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backslide.contract import Artifact
from backslide.record import provenance
from backslide.record.recorder import Recorder
from backslide.spool.frames import Kind

if TYPE_CHECKING:
    import torch


class Origin:
    """The provenance of one run."""

    def __init__(self, recorder: Recorder, known: Mapping[str, Any], *, joined: bool) -> None:
        """Records nothing yet; `joined`: MLflow has tagged the run with its commit itself."""
        self._recorder = recorder
        self._known = dict(known)
        self._joined = joined

    def gather(self) -> None:
        """Looks at code, packages and machine; takes seconds where git is slow."""
        main = Path(provenance.source())
        folder = main.parent if main.is_file() else Path.cwd()
        git = provenance.git(folder)
        # Replaced as a whole: the end of the run may come while this thread is still at it.
        self._known = self._known | {
            "git": git,
            "source": str(main),
            "packages": provenance.packages(),
            "environment": provenance.environment(),
        }
        if git is not None and not self._joined:
            self._recorder.append(Kind.TAGS, {"mlflow.source.git.commit": git["commit"]})
        self._record()

    def end(self, model: "torch.nn.Module | None") -> None:
        """Adds the weights that came out."""
        if model is not None:
            weights = provenance.weights_digest(model)
            self._known = self._known | {"final_weights": weights}
            self._record()

    def _record(self) -> None:
        self._recorder.attach(Artifact.PROVENANCE, json.dumps(self._known).encode())
