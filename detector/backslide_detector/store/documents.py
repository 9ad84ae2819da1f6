"""JSON artifacts -> records, whatever the files hold."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from backslide_detector.evidence import DataSummary, Nearest, Provenance

BYTES: Final = 8_000_000
_Object = Mapping[str, object]


def read_object(path: Path, problems: list[str]) -> _Object:
    """The JSON object in a file; empty, with a problem, when there is none."""
    if (size := path.stat().st_size) > BYTES:
        problems.append(f"{path.name}: {size:,} bytes; at most {BYTES:,} are read")
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        problems.append(f"{path.name}: not JSON: {error}")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name}: a JSON object was expected, not {type(value).__name__}")
        return {}
    return value


def provenance(value: _Object) -> Provenance:
    """`backslide/provenance.json` as a record; what is of a wrong type is left out."""
    git = _object(value.get("git"))
    dirty = git.get("dirty")
    return Provenance(
        seed=_text(value.get("seed")),
        initial_weights=_text(value.get("initial_weights")),
        final_weights=_text(value.get("final_weights")),
        git_commit=_text(git.get("commit")),
        git_dirty=dirty if isinstance(dirty, bool) else None,
        git_diff_digest=_text(git.get("diff_digest")),
        source=_text(value.get("source")),
        packages=_texts(value.get("packages")),
        environment=_texts(value.get("environment")),
    )


def data_summary(name: str, value: _Object) -> DataSummary:
    """`backslide/data/<name>.json` as a record."""
    return DataSummary(
        name=_text(value.get("name")) or name,
        digest=_text(value.get("digest")) or "",
        version=_text(value.get("version")),
        rows=_whole(value.get("rows")),
        class_counts={
            label: whole
            for label, count in _object(value.get("class_counts")).items()
            if (whole := _whole(count)) is not None
        },
        features=_object(value.get("features")),
        nearest=_nearest(_object(value.get("nearest"))),
    )


def _nearest(value: _Object) -> Nearest | None:
    examples = _whole(value.get("examples"))
    error, r_squared = (_number(value.get(key)) for key in ("error", "r_squared"))
    if not examples or (error is None and r_squared is None):
        return None
    return Nearest(examples, error, r_squared)


def names_in(value: _Object, key: str) -> tuple[str, ...]:
    """A list of names in `backslide/graph.json`; what is no name is left out."""
    names = value.get(key)
    given = names if isinstance(names, list) else []
    return tuple(name for name in given if isinstance(name, str))


def share_in(value: _Object, key: str) -> float:
    """A share in `backslide/graph.json`; 0.0 in place of what is none."""
    share = value.get(key)
    return share if isinstance(share, float) and 0.0 <= share < math.inf else 0.0


def _object(value: object) -> _Object:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _texts(value: object) -> dict[str, str]:
    return {key: str(text) for key, text in _object(value).items()}


def _number(value: object) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None
