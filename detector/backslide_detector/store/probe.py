"""The tables of a probe -> evidence, whatever the files hold."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backslide.contract import (
    CODE_WIDTH,
    GROUP_GRID,
    GROUPS,
    PROBE_EXAMPLES,
    PROBE_LAYERS,
    PROBE_SCHEMAS,
    REMAINDER_WIDTH,
    SIGNATURE_LENGTH,
    SPECTRUM_WIDTH,
)
from backslide.contract import Probe as Key
from backslide_detector.probe import (
    Branch,
    Concept,
    Course,
    Groups,
    Probe,
    ProbedExample,
    ProbedLayer,
)
from backslide_detector.store import documents
from backslide_detector.store.blocks import finite, matrix, rectangle, rows_of, vector
from backslide_detector.store.parquet import batches_of, frozen, open_tables

MANIFEST: Final = "probe.json"
UNITS: Final = 65_536
CONCEPTS: Final = 2_000
BRANCHES: Final = 200
"""Modules inside of one layer that are read."""
THUMBNAIL_BYTES: Final = 20_000
PNG: Final = b"\x89PNG\r\n\x1a\n"

_ROWS: Final = {
    "layers": PROBE_LAYERS,
    "codes": PROBE_LAYERS * PROBE_EXAMPLES,
    "remainders": PROBE_LAYERS * REMAINDER_WIDTH,
    "units": UNITS,
    "groups": PROBE_LAYERS * GROUPS,
    "concepts": CONCEPTS,
    "readability": 2_000_000,
    "examples": PROBE_EXAMPLES,
}
_LONGEST: Final = {
    "layers": SPECTRUM_WIDTH,
    "codes": CODE_WIDTH,
    "remainders": PROBE_EXAMPLES,
    "units": SIGNATURE_LENGTH,
    "groups": 2 * UNITS,
    "concepts": PROBE_EXAMPLES,
}

_LARGE: Final = ("codes", "remainders", "units", "groups")
"""Read as columns; the others are small enough to be read row by row."""

Rows = list[dict[str, Any]]


def read_probe(files: Mapping[str, Path], problems: list[str]) -> Probe | None:
    """The last probe of a run; None when there is none, or its codes are no use.

    Args:
        files: by name, those below `contract.Artifact.PROBE`.
        problems: gets what could not be read.
    """
    if MANIFEST not in files:
        return None
    said = documents.read_object(files[MANIFEST], problems)
    tables = {name: _table(files, name, problems) for name in PROBE_SCHEMAS}
    rows = {n: [] if n in _LARGE else tables[n].to_pylist() for n in tables}
    examples = said.get(Key.EXAMPLES)
    digest = said.get(Key.DIGEST)
    if not isinstance(digest, str) or not isinstance(examples, int):
        problems.append(f"{MANIFEST}: no digest, or no number of examples")
        return None
    if not 0 < examples <= PROBE_EXAMPLES:
        problems.append(f"{MANIFEST}: {examples:,} examples; at most {PROBE_EXAMPLES} are read")
        return None
    layers = _layers(rows["layers"], tables, examples)
    if len(layers) < len(rows["layers"]):
        problems.append("the probe holds layers without a whole code; they were left out")
    if not layers:
        return None
    problems += [str(text)[:500] for text in _listed(said.get(Key.PROBLEMS))[:20]]
    accuracy, step = said.get(Key.ACCURACY), said.get(Key.STEP)
    return Probe(
        digest=digest,
        examples=examples,
        step=step if isinstance(step, int) else 0,
        layers=layers,
        classes=tuple(str(name) for name in _listed(said.get(Key.CLASSES))),
        accuracy=float(accuracy) if isinstance(accuracy, int | float) else None,
        groups=_groups(tables["groups"], [layer.name for layer in layers], examples),
        concepts=_concepts(rows["concepts"], examples),
        course=_course(rows["readability"], rows["concepts"], layers),
        panel=_panel(rows["examples"], examples),
        branches=_branches(tables["units"], [layer.name for layer in layers]),
    )


def _table(files: Mapping[str, Path], name: str, problems: list[str]) -> pa.Table:
    """One table, without rows when it is missing, and up to the first damaged page."""
    schema, path = PROBE_SCHEMAS[name], files.get(f"{name}.parquet")
    batches: list[pa.RecordBatch] = []
    longest = _LONGEST.get(name, 1)
    for file in open_tables(
        [] if path is None else [path], schema, _ROWS[name], problems, longest=4 * longest
    ):
        batches += batches_of(file, schema.names, problems)
    # What the file says of nullability is nobody's business here.
    columns = {
        field.name: pa.chunked_array([batch[field.name] for batch in batches], field.type)
        for field in schema
    }
    return pa.table(columns)


def _layers(
    rows: Rows, tables: Mapping[str, pa.Table], examples: int
) -> tuple[ProbedLayer, ...]:
    """The layers whose code is whole, in order of depth."""
    found: dict[str, ProbedLayer] = {}
    for row in sorted(rows, key=lambda row: row["depth"] or 0):
        name, norm, trace = row["layer"], row["gram_norm"], row["gram_trace"]
        if name is None or name in found or not _whole(norm, trace):
            continue
        coded = rows_of(tables["codes"], name, "example")
        code = rectangle(coded, "code", CODE_WIDTH)
        if code is None or len(code) != examples:
            continue
        live, signatures = _channels(rows_of(tables["units"], name, "unit"))
        found[name] = ProbedLayer(
            name=name,
            kind=row["kind"] or "",
            depth=row["depth"] or 0,
            units=row["units"] or 0,
            positions=row["positions"] or 0,
            signed=bool(row["signed"]),
            gram_norm=norm,
            gram_trace=trace,
            spectrum=vector(row["spectrum"]),
            code=frozen((code * (row["code_scale"] or 1.0)).astype(np.float32)),
            live=live,
            signatures=signatures,
            weights=row["weights"] or "",
            remainder=_remainder(rows_of(tables["remainders"], name, "sum"), examples),
        )
    return tuple(found.values())


def _branches(units: pa.Table, layers: Sequence[str]) -> tuple[Branch, ...]:
    """Channels of what is no layer, each with the next layer in the table."""
    waiting: list[str] = []
    found: list[Branch] = []
    for name in units["layer"].unique().to_pylist():
        if name is None or len(waiting) > BRANCHES:
            continue
        if name not in layers:
            waiting.append(name)
            continue
        for each in waiting:
            live, signatures = _channels(rows_of(units, each, "unit"))
            found.append(Branch(each, name, live, signatures))
        waiting = []
    return tuple(found)


def _remainder(rows: pa.Table | None, examples: int) -> NDArray[np.float32]:
    """Random sums of a layer, shape (examples, sums); empty unless all are whole."""
    values = rectangle(rows, "values", examples)
    if rows is None or values is None or values.shape[1] != examples:
        return frozen(np.zeros((0, 0), np.float32))
    return frozen((values * finite(rows["scale"])[:, None]).T.astype(np.float32))


def _channels(rows: pa.Table | None) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(live, signatures) of a layer's channels; empty unless all are whole."""
    values = rectangle(rows, "signature", SIGNATURE_LENGTH)
    if rows is None or values is None:
        return frozen(np.zeros(0, np.bool_)), frozen(np.zeros((0, 0), np.float32))
    scale = finite(rows["scale"])
    live = rows["live"].fill_null(False).to_numpy().astype(np.bool_)
    return frozen(live), frozen((values * scale[:, None]).astype(np.float32))


def _groups(table: pa.Table, layers: Sequence[str], examples: int) -> dict[str, Groups]:
    """Groups by layer; a layer with one that is not whole is left out."""
    found = {}
    for layer in layers:
        rows = rows_of(table, layer, "group")
        activity = rectangle(rows, "activity", examples)
        if rows is None or activity is None or activity.shape[1] != examples:
            continue
        attribution = rectangle(rows, "attribution", CONCEPTS)
        maps = rectangle(rows, "maps", examples * GROUP_GRID**2)
        cells = None
        if maps is not None and maps.shape[1] == examples * GROUP_GRID**2:
            cells = frozen(maps.astype(np.uint8).reshape(len(rows), examples, -1))
        found[layer] = Groups(
            share=vector(rows["share"].to_pylist()),
            stability=vector(rows["stability"].to_pylist()),
            activity=frozen(activity.astype(np.float32)),
            maps=cells,
            attribution=frozen(
                np.zeros((len(rows), 0)) if attribution is None else attribution
            ),
        )
    return found


def _concepts(rows: Rows, examples: int) -> tuple[Concept, ...]:
    found: dict[str, Concept] = {}
    for row in rows:
        values = matrix([row["values"]], examples)
        if row["concept"] and values is not None and values.shape[1] == examples:
            concept = Concept(row["concept"], row["kind"] or "given", frozen(values[0]))
            found.setdefault(concept.name, concept)
    return tuple(found.values())


def _course(rows: Rows, concepts: Rows, layers: Sequence[ProbedLayer]) -> Course | None:
    """Mean readability of the targets in each layer, probe by probe."""
    asked = {row["concept"] for row in concepts if row["kind"] in ("label", "value")}
    steps = sorted({row["step"] for row in rows if row["step"] is not None})
    names = [layer.name for layer in layers]
    if not steps or not names:
        return None
    row_of = {step: i for i, step in enumerate(steps)}
    column_of = {name: j for j, name in enumerate(names)}
    total, count = np.zeros((2, len(steps), len(names)))
    accuracy = np.full((len(steps), len(names)), np.nan)
    for row in rows:
        if row["step"] is None or row["layer"] not in column_of:
            continue
        at = row_of[row["step"]], column_of[row["layer"]]
        if not row["concept"]:
            accuracy[at] = np.nan if row["accuracy"] is None else row["accuracy"]
        elif row["concept"] in asked and row["r2"] is not None and math.isfinite(row["r2"]):
            total[at] += row["r2"]
            count[at] += 1
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Course(
        frozen(np.array(steps, np.int64)), tuple(names), frozen(mean), frozen(accuracy)
    )


def _panel(rows: Rows, examples: int) -> tuple[ProbedExample, ...]:
    """The examples in order; empty when one is missing, since all else refers to them."""
    by_number = {row["example"]: row for row in rows}
    if set(by_number) != set(range(examples)):
        return ()
    return tuple(
        ProbedExample(
            id=row["id"] or "",
            target=row["target"] or "",
            prediction=row["prediction"] or "",
            score=_number(row["score"]),
            loss=_number(row["loss"]),
            thumbnail=_picture(row["thumbnail"]),
        )
        for row in (by_number[i] for i in range(examples))
    )


def _picture(content: bytes | None) -> bytes | None:
    """A PNG small enough to be shown; browsers decode it, so nothing else passes."""
    if content is None or len(content) > THUMBNAIL_BYTES or not content.startswith(PNG):
        return None
    return content


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _whole(*values: float | None) -> bool:
    return all(value is not None and math.isfinite(value) and value >= 0 for value in values)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
