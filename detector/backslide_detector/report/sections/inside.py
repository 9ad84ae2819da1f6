"""What changed inside: layers, groups of channels, concepts, beside what is usual."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from backslide_detector.evidence import RunEvidence
from backslide_detector.inside.formation import curves, formation_shift, formed_at, levels
from backslide_detector.inside.pair import Pair, label_rows
from backslide_detector.inside.readout import readout
from backslide_detector.inside.similarity import matrix as cka_matrix
from backslide_detector.inside.spread import ENOUGH
from backslide_detector.inside.warm import KeptUnits, kept_units
from backslide_detector.judgement import Judgement
from backslide_detector.probe import Numbers, Probe
from backslide_detector.report.pictures.bands import Row, bands
from backslide_detector.report.pictures.matrix import matrix
from backslide_detector.report.section import Absent, Block, Figure, Section, Table
from backslide_detector.report.sections.carried import carried
from backslide_detector.wording import count

TITLE = "What the layers do"
CONCEPTS = 24
"""Concepts drawn at most: those that changed most."""


def inside(judgement: Judgement, new: RunEvidence, pair: Pair | None) -> Section | Absent:
    """Similarity, channels, readability and groups, as far as two probes tell."""
    probe = new.probe
    if probe is None:
        return Absent(TITLE, "The layers were not probed; run.probe(inputs, targets) does.")
    comparable = pair if pair is not None and not pair.incomparable else None
    changed, lost = (
        {found.layer for check, found in judgement.findings if check == name and found.layer}
        for name in ("layer-changed", "group-lost")
    )
    blocks = []
    if comparable is not None:
        blocks += _channels(comparable, changed)
        blocks += _similarity(comparable)
    blocks += _depth(probe, comparable)
    if comparable is not None:
        blocks += _concepts(comparable, judgement)
        blocks += carried(comparable, lost)
    lead = _lead(probe, pair)
    tables = (_formed(probe, comparable),) if len(label_rows(probe)) else ()
    return Section("inside", TITLE, lead, tuple(blocks), tables)


def _lead(probe: Probe, pair: Pair | None) -> str:
    said = (
        f"From {probe.examples} fixed examples, in {len(probe.layers)} layers. What can be "
        "read from a layer is not always what the network uses."
    )
    seen = readout(probe)
    if seen is not None:
        said += (
            f" A linear reader of {seen.layer} answers {seen.readable:.0%} of them rightly, "
            f"the network itself {seen.said:.0%}."
        )
    if pair is None:
        return said
    if pair.incomparable:
        return f"{said} Compared with {pair.old.name}: {pair.incomparable}."
    known = len(pair.references)
    if known >= ENOUGH:
        said += f" Usual is what {known} healthy runs of this network show."
    else:
        said += (
            f" {count(known, 'healthy run')} of this network on these examples:"
            f" too few to say what is usual ({ENOUGH} do), so differences are shown and not"
            " judged."
        )
    return said


def _channels(pair: Pair, flagged: set[str]) -> list[Block]:
    kept = kept_units(pair)
    if not kept or pair.parent is None:
        return []
    rows = [
        Row(
            each.layer,
            each.share,
            band=None if each.usual is None else (each.usual, each.usual),
            bad=each.owner in flagged or each.layer in flagged,
        )
        for each in kept
    ]
    legend = [("dot-new", "share of the live channels")]
    if any(each.usual is not None for each in kept):
        legend.append(("band", "mean of earlier warm retrains"))
    picture = bands("Channels that still do the same", rows, (0.0, 1.0), _percent)
    title = f"Channels that still do what they did in {pair.parent.name}"
    figure = Figure(picture, caption=_weights_of(kept, flagged))
    return [Block("wide", (figure,), title, tuple(legend))]


def _weights_of(kept: Sequence[KeptUnits], flagged: set[str]) -> str:
    """Where a finding names the module with the weights, and the row the one it was read at."""
    apart = [each for each in kept if each.owner in flagged and each.owner != each.layer]
    return "; ".join(
        f"{each.layer} is where the channels are seen, {each.owner} has their weights and is "
        "what the finding names"
        for each in apart
    )


def _similarity(pair: Pair) -> list[Block]:
    new, old = pair.probes
    names = ([x.name for x in old.layers], [x.name for x in new.layers])
    now = cka_matrix(old.layers, new.layers)
    others = [probe for probe in pair.references if probe is not old]
    figures = []
    if len(others) + 1 >= ENOUGH:
        usual = np.array([cka_matrix(old.layers, each.layers) for each in others])
        mean, sd = usual.mean(axis=0), np.maximum(usual.std(axis=0, ddof=1), 0.01)
        away = (now - mean) / (sd * np.sqrt(1 + 1 / len(others)))
        figures = [
            Figure(_square("Usual similarity", names, mean), "usual", "healthy runs"),
            Figure(_square("Similarity now", names, now), "this run"),
            Figure(
                matrix("Difference in healthy spreads", names, away, (0.0, 8.0), _signed,
                       signed="low"),
                "difference", "in spreads of the healthy runs",
            ),
        ]  # fmt: skip
    else:
        figures = [Figure(_square("Similarity of layers", names, now))]
    title = f"Similarity of layers: rows {pair.old.name}, columns this run"
    legend = (("heat", "linear CKA; by itself it says little, untrained layers reach 0.98"),)
    return [Block("panels", tuple(figures), title, legend)]


def _square(title: str, names: tuple[list[str], list[str]], values: Numbers) -> Markup:
    return matrix(title, names, values, (0.5, 1.0), _two)


def _depth(probe: Probe, pair: Pair | None) -> list[Block]:
    """Mean readability of the labels in each layer."""
    rows = label_rows(probe)
    if not len(rows):
        return []
    now = _mean(probe, rows)
    before: dict[str, float] = {}
    healthy: list[dict[str, float]] = []
    if pair is not None:
        before = _mean(pair.probes[1], rows)
        others = [each for each in pair.references if each is not pair.probes[1]]
        healthy = [_mean(each, rows) for each in others]
    drawn = [
        Row(name, value, before.get(name), _band([each.get(name) for each in healthy]))
        for name, value in now.items()
    ]
    legend = [("dot-new", "mean R² over the labels now")]
    if before:
        legend.append(("ring", "in the predecessor"))
    if healthy:
        legend.append(("band", count(len(healthy), "other healthy run")))
    picture = bands("Readability of the labels by layer", drawn, (0.0, 1.0), _two)
    caption = _shifted(pair)
    return [
        Block("wide", (Figure(picture, caption=caption),),
              "How well the labels can be read, from input to output", tuple(legend))
    ]  # fmt: skip


def _shifted(pair: Pair | None) -> str:
    shift = None if pair is None else formation_shift(pair)
    if shift is None or not np.isfinite(shift.layers):
        return ""
    later = "later" if shift.layers > 0 else "earlier"
    said = (
        f"All {shift.concepts} labels together form {abs(shift.layers):.1f} layers {later} than"
    )
    if shift.interval is None:
        return f"{said} before; without healthy runs there is no interval."
    low, high = shift.interval
    return f"{said} usual, 95 % interval {low:+.1f} to {high:+.1f}."


def _concepts(pair: Pair, judgement: Judgement) -> list[Block]:
    known = sorted(levels(pair), key=lambda each: each.now - each.before)[:CONCEPTS]
    if not known:
        return []
    lost = any(check == "concept-lost" for check, _ in judgement.findings)
    rows = [
        Row(
            each.concept,
            each.now,
            each.before,
            None
            if each.surprise is None
            else (
                each.surprise.mean - 2 * each.surprise.sd,
                each.surprise.mean + 2 * each.surprise.sd,
            ),
            bad=lost and each is known[0],
        )
        for each in known
    ]
    legend = [("dot-new", "R² at the best layer now"), ("ring", "in the predecessor")]
    if any(row.band for row in rows):
        legend.append(("band", "healthy runs, ± 2 spreads"))
    picture = bands("Labels and concepts at their best layer", rows, (0.0, 1.0), _two)
    return [Block("wide", (Figure(picture),), "Labels and concepts, one by one",
                  tuple(legend))]  # fmt: skip


def _formed(probe: Probe, pair: Pair | None) -> Table:
    """The layer at which each label has risen by half; noisy, so numbers and no picture."""
    rows = label_rows(probe)
    now = curves(probe, rows)
    old = None if pair is None else pair.probes[1]
    before = None if old is None else curves(old, rows)
    names = [layer.name for layer in probe.layers]
    listed = []
    for number, concept in enumerate(probe.labels[:200]):
        row = [concept.name, _at(names, now[:, number]), _two(float(np.nanmax(now[:, number])))]
        if old is not None and before is not None:
            row += [
                _at([layer.name for layer in old.layers], before[:, number]),
                _two(float(np.nanmax(before[:, number]))),
            ]
        listed.append(tuple(row))
    head = ("label", "becomes readable at", "best R²")
    head_before = () if old is None else ("before at", "best R² before")
    return Table(
        "Layer at which each label has risen by half (one label alone is too noisy to compare)",
        head + head_before, tuple(listed), words=1,
    )  # fmt: skip


def _at(names: list[str], curve: Numbers) -> str:
    place = formed_at(curve)
    return "no rise" if place is None else names[place]


def _mean(probe: Probe, rows: Numbers) -> dict[str, float]:
    values = np.clip(np.nan_to_num(curves(probe, rows)), 0.0, None).mean(axis=1)
    return {layer.name: float(v) for layer, v in zip(probe.layers, values, strict=True)}


def _band(values: list[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return (min(known), max(known)) if len(known) >= 2 else None


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
