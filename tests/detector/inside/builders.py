"""Probes made by hand from full activations, and as the files that the SDK would write."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backslide.contract import CODE_WIDTH, PROBE_SCHEMAS, SIGNATURE_LENGTH
from backslide_detector.probe import Concept, Groups, Inside, Probe, ProbedExample, ProbedLayer

EXAMPLES, CLASSES = 256, 8
TARGETS = np.arange(EXAMPLES) % CLASSES
ONE_HOT = (np.arange(CLASSES)[:, None] == TARGETS).astype(float)
NAMES = ("conv1", "conv2", "conv3", "fc1", "fc2")


def outputs(name: str, *, seed: int = 0, signal: float = 1.0, units: int = 24) -> np.ndarray:
    """Rectified outputs of a layer, shape (n, units): classes and some noise of its own.

    The same name and seed give the same outputs; another seed mixes the same in other channels.
    """
    deep = NAMES.index(name) if name in NAMES else len(NAMES)
    content = np.random.default_rng(7)  # what there is to know about the examples
    seen = np.concatenate(
        [ONE_HOT.T * signal * (0.4 + 0.4 * deep), content.normal(size=(EXAMPLES, 10))], axis=1
    )
    mix = np.random.default_rng([seed, deep]).normal(size=(seen.shape[1], units))
    return np.maximum(seen @ mix, 0.0)


def nothing(units: int = 24) -> np.ndarray:
    """Outputs that say nothing about the examples."""
    return np.maximum(np.random.default_rng(0).normal(size=(EXAMPLES, units)), 0.0)


def layer(
    name: str, values: np.ndarray, depth: int = 0, remainder: np.random.Generator | None = None
) -> ProbedLayer:
    """A layer from its outputs, shape (n, units) or (n, units, positions).

    With random sums of what the code leaves out where it is said what to draw them from.
    """
    cube = values[..., None] if values.ndim == 2 else values
    flat = cube.reshape(len(cube), -1)
    centred = flat - flat.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    rest = (u * s)[:, CODE_WIDTH:]
    if remainder is not None:
        rest = rest @ remainder.normal(size=(rest.shape[1], 16)) / 4
    places = np.random.default_rng(3).integers(
        0, (len(cube), cube.shape[2]), (SIGNATURE_LENGTH, 2)
    )
    signatures = np.stack([cube[n, :, p] for n, p in places], axis=1)
    return ProbedLayer(
        name=name,
        kind="ReLU",
        depth=depth,
        units=cube.shape[1],
        positions=cube.shape[2],
        signed=bool((cube < 0).any()),
        gram_norm=float(np.linalg.norm(s**2)),
        gram_trace=float((s**2).sum()),
        spectrum=s[:64] ** 2,
        code=(u * s)[:, :CODE_WIDTH].astype(np.float32),
        live=cube.std(axis=(0, 2)) > 1e-9,
        signatures=signatures.astype(np.float32),
        remainder=(rest[:, :0] if remainder is None else rest).astype(np.float32),
    )


def probe(layers: dict[str, np.ndarray] | None = None, **changes) -> Probe:
    """A probe of these layers' outputs; by default of a healthy network."""
    values = {name: outputs(name) for name in NAMES} if layers is None else layers
    made = tuple(layer(name, each, depth) for depth, (name, each) in enumerate(values.items()))
    labels = tuple(Concept(str(k), "label", row) for k, row in enumerate(ONE_HOT))
    whole = Probe(
        digest="a batch",
        examples=EXAMPLES,
        step=100,
        layers=made,
        classes=tuple(str(k) for k in range(CLASSES)),
        accuracy=0.95,
        concepts=labels,
    )
    return replace(whole, **changes)


def healthy(seed: int = 0, **layers: np.ndarray) -> Probe:
    """A retrain from another start; `layers` replace the outputs of some."""
    usual = {name: outputs(name, seed=seed) for name in NAMES}
    return probe(usual | layers)


def warm(seed: int = 0, drift: float = 0.05, **layers: np.ndarray) -> Probe:
    """A retrain from the same weights, a little moved."""
    rng = np.random.default_rng([seed, 99])
    usual = {
        name: np.maximum(each + drift * rng.normal(size=each.shape), 0.0)
        for name, each in ((n, outputs(n)) for n in NAMES)
    }
    return probe(usual | layers)


def groups_of(of: ProbedLayer, rows: np.ndarray, stability: float = 0.95) -> Groups:
    """Groups with these activities, shape (k, n)."""
    k = len(rows)
    return Groups(
        share=np.full(k, 1 / k),
        stability=np.full(k, stability),
        activity=rows.astype(np.float32),
        maps=np.zeros((k, rows.shape[1], 16), np.uint8),
        attribution=np.ones((k, CLASSES)),
    )


def inside(run_id: str = "new", of: Probe | None = None, **changes) -> Inside:
    return replace(Inside(run_id, run_id, probe() if of is None else of), **changes)


def panel() -> tuple[ProbedExample, ...]:
    return tuple(
        ProbedExample(f"id-{i}", str(t), str(t), 0.9, 0.1) for i, t in enumerate(TARGETS)
    )


def write(given: Probe, folder) -> dict:
    """The files of a probe, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {name: [] for name in PROBE_SCHEMAS}
    for each in given.layers:
        scale = np.maximum(np.abs(each.signatures).max(axis=1), 1e-12) / 127
        rows["layers"].append(
            {
                "layer": each.name,
                "kind": each.kind,
                "depth": each.depth,
                "units": each.units,
                "positions": each.positions,
                "signed": each.signed,
                "gram_norm": each.gram_norm,
                "gram_trace": each.gram_trace,
                "spectrum": each.spectrum.tolist(),
                "code_scale": 2.0,
                "weights": each.weights,
            }
        )
        rows["codes"] += [
            {"layer": each.name, "example": i, "code": (row / 2).astype(np.float16)}
            for i, row in enumerate(each.code)
        ]
        sums = each.remainder.T
        rows["remainders"] += [
            {
                "layer": each.name,
                "sum": i,
                "scale": float(np.abs(row).max() / 127),
                "values": np.rint(row / np.abs(row).max() * 127).astype(np.int8),
            }
            for i, row in enumerate(sums)
        ]
        rows["units"] += [
            {
                "layer": branch.name,
                "unit": i,
                "live": bool(branch.live[i]),
                "scale": 0.5,
                "signature": (signature / 0.5).astype(np.int8),
            }
            for branch in given.branches
            if branch.layer == each.name
            for i, signature in enumerate(branch.signatures)
        ]
        rows["units"] += [
            {
                "layer": each.name,
                "unit": i,
                "live": bool(each.live[i]),
                "scale": float(scale[i]),
                "signature": np.rint(each.signatures[i] / scale[i]).astype(np.int8).tolist(),
            }
            for i in range(each.units)
        ]
    for name, each in given.groups.items():
        rows["groups"] += [
            {
                "layer": name,
                "group": g,
                "share": float(each.share[g]),
                "stability": float(each.stability[g]),
                "weights": [1.0],
                "activity": each.activity[g].astype(np.float16),
                "maps": [] if each.maps is None else each.maps[g].ravel().tolist(),
                "attribution": each.attribution[g].tolist(),
            }
            for g in range(len(each.share))
        ]
    rows["concepts"] = [
        {"concept": c.name, "kind": c.kind, "values": c.values.tolist()} for c in given.concepts
    ]
    if given.course is not None:
        for i, step in enumerate(given.course.steps.tolist()):
            for j, name in enumerate(given.course.layers):
                r2, accuracy = given.course.r2[i, j], given.course.accuracy[i, j]
                at = {"step": step, "layer": name}
                rows["readability"] += [
                    at | {"concept": c.name, "r2": r2, "accuracy": np.nan} for c in given.labels
                ]
                rows["readability"].append(
                    at | {"concept": "", "r2": np.nan, "accuracy": accuracy}
                )
    rows["examples"] = [{"example": i, **vars(each)} for i, each in enumerate(given.panel)]
    for name, schema in PROBE_SCHEMAS.items():
        table = pa.Table.from_pylist(rows[name], schema=schema)
        pq.write_table(table, folder / f"{name}.parquet")
    said = {
        "digest": given.digest,
        "examples": given.examples,
        "step": given.step,
        "classes": list(given.classes),
        "accuracy": given.accuracy,
        "seconds": 0.1,
        "problems": [],
    }
    (folder / "probe.json").write_text(json.dumps(said))
    return {path.name: path for path in folder.iterdir()}
