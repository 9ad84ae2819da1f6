"""The network as it ran, coloured by how its parts do."""

from collections.abc import Mapping
from itertools import pairwise

from backslide_detector.evidence import RunEvidence
from backslide_detector.graph import Graph, Node
from backslide_detector.inside.graph_diff import GraphDiff, graph_diff
from backslide_detector.inside.pair import Pair
from backslide_detector.judgement import Judgement
from backslide_detector.report.collapse import MOST, Box, collapsed
from backslide_detector.report.condition import Figure as Condition
from backslide_detector.report.condition import conditions
from backslide_detector.report.pictures.graph import Mark, State, graph
from backslide_detector.report.section import Absent, Block, Figure, Section, Table

TITLE = "The network as it ran"
ROWS = 300


def network(judgement: Judgement, new: RunEvidence, pair: Pair | None) -> Section | Absent:
    """The graph, what differs from the predecessor's, and the figures behind the colours."""
    if new.graph is None:
        return Absent(TITLE, "No graph was recorded; backslide.start(..., model=model) does.")
    old = None if pair is None else pair.old.graph
    diff = GraphDiff() if old is None else graph_diff(new.graph, old)
    marks = _marks(diff)
    health = _at_nodes(new.graph, conditions(new, pair))
    named = {found.layer for _, found in judgement.findings if found.layer}
    flagged = {node.id for node in new.graph.nodes if node.name in named}
    sketch = collapsed(_linked(new.graph), marks.keys() | flagged)
    states = {box.key: _state(box, health, marks) for box in sketch.boxes}
    legend = _legend(new.graph, states, diff, old is not None)
    figure = Figure(graph(sketch, states), caption=_caption(new.graph, len(sketch.boxes)))
    tables = [_table(new.graph, health)] if health else []
    if diff:
        tables.insert(0, _differences(diff))
    lead = (
        "From the input (top) to the output. The colour is the worst of dead units, saturated "
        "units, the size of the gradient and what changed since the predecessor; grey was not "
        "measured."
    )
    if diff.removed:
        lead += f" Gone since the predecessor: {_names(diff.removed)}."
    return Section("network", TITLE, lead, (Block("wide", (figure,), legend=legend),),
                   tuple(tables))  # fmt: skip


def _at_nodes(
    given: Graph, health: Mapping[str, tuple[Condition, ...]]
) -> dict[str, tuple[Condition, ...]]:
    """Node id -> figures; those of a block of modules stand at its last node.

    A module that is called more than once shows them at its first call.
    """
    ran = [node for node in given.nodes if node.type != "ghost"]
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for node in ran:
        if node.type == "module":
            first.setdefault(node.name, node.id)
        parts = node.name.split(".")
        for length in range(1, len(parts) + 1):
            last[".".join(parts[:length])] = node.id
    found: dict[str, tuple[Condition, ...]] = {}
    for name, figures in health.items():
        place = first.get(name) or first.get(name.partition("#")[0]) or last.get(name)
        if place is not None:
            both = (*found.get(place, ()), *figures)
            found[place] = tuple(sorted(set(both), key=lambda each: -each.badness))
    return found


def _linked(given: Graph) -> Graph:
    """The graph itself; one without edges is drawn as a chain, which is all that is known."""
    if given.edges:
        return given
    ran = [node.id for node in given.nodes if node.type != "ghost"]
    return Graph(given.nodes, tuple(pairwise(ran)))


def _state(
    box: Box, health: Mapping[str, tuple[Condition, ...]], marks: Mapping[str, Mark]
) -> State:
    """The worst member speaks for a box."""
    figures = {
        (member.id, figure.short): figure
        for member in box.members
        for figure in health.get(member.id, ())
    }
    found = [marks[member.id] for member in box.members if member.id in marks]
    mark: Mark | None = None
    if found:
        mark = "new" if len(found) == len(box.members) and set(found) == {"new"} else "changed"
    if not figures:
        return State(mark=mark)
    worst = max(figures.values(), key=lambda figure: figure.badness)
    alone = len(box.members) == 1
    said = "; ".join(
        figure.short if alone else f"{name} {figure.short}"
        for (name, _), figure in sorted(figures.items(), key=lambda item: -item[1].badness)[:6]
    )
    shown = worst.tone != "good" or worst.kind == "other channels"
    return State(worst.tone, worst.short if shown else "", said, mark)


def _marks(diff: GraphDiff) -> dict[str, Mark]:
    marks: dict[str, Mark] = {node.id: "changed" for _, node in diff.changed}
    for start, end in (*diff.joined, *diff.parted):
        marks |= {start: "changed", end: "changed"}
    return marks | {node.id: "new" for node in diff.added}


def _legend(
    given: Graph, states: Mapping[str, State], diff: GraphDiff, compared: bool
) -> tuple[tuple[str, str], ...]:
    tones = {state.tone for state in states.values()}
    legend = [
        (f"box-{tone}", meaning)
        for tone, meaning in (
            ("good", "nothing unusual"),
            ("warn", "worth a look"),
            ("bad", "worst part"),
            ("grey", "not measured"),
        )
        if tone in tones
    ]
    if any(node.type == "ghost" for node in given.nodes):
        legend.append(("box-ghost", "never called"))
    if given.edges:
        legend.append(("skip", "passes over other rows"))
    if compared and (diff.added or diff.changed or diff.joined or diff.parted):
        legend.append(("plus", "new, ± changed since the predecessor"))
    return tuple(legend)


def _caption(given: Graph, boxes: int) -> str:
    ran = sum(node.type != "ghost" for node in given.nodes)
    said = f"{ran:,} modules and operations ran"
    if boxes < len(given.nodes):
        said += (
            f"; shown as {boxes} boxes (at most {MOST}), modules standing for what is inside"
        )
    if not given.edges:
        said += "; how they are joined was not recorded, so they are drawn in order of calls"
    return said + "."


def _table(given: Graph, health: Mapping[str, tuple[Condition, ...]]) -> Table:
    rows = [
        (node.id, node.kind, ", ".join(figure.short for figure in health[node.id]))
        for node in given.nodes
        if node.id in health
    ]
    rest = len(rows) - ROWS
    more = f", the first {ROWS} of {len(rows):,}" if rest > 0 else ""
    return Table(
        f"What the colours stand for{more}", ("module", "kind", "measured"),
        tuple(rows[:ROWS]), words=3,
    )  # fmt: skip


def _differences(diff: GraphDiff) -> Table:
    rows = [("new", node.id, "–", _said(node)) for node in diff.added]
    rows += [("gone", node.id, _said(node), "–") for node in diff.removed]
    rows += [("changed", new.id, _said(old), _said(new)) for old, new in diff.changed]
    rows += [("joined", " to ".join(edge), "–", "joined") for edge in diff.joined]
    rows += [("parted", " to ".join(edge), "joined", "–") for edge in diff.parted]
    more = f", the first {ROWS} of {len(rows):,}" if len(rows) > ROWS else ""
    return Table(
        f"What differs from the predecessor's network{more}",
        ("", "where", "before", "now"), tuple(rows[:ROWS]), words=4,
    )  # fmt: skip


def _said(node: Node) -> str:
    size = "×".join(str(n) for n in node.output[1:])
    parts = ["never called" if node.type == "ghost" else node.kind, size]
    if node.parameters:
        parts.append(f"{node.parameters:,} parameters")
    return ", ".join(filter(None, parts))


def _names(nodes: tuple[Node, ...]) -> str:
    more = f" and {len(nodes) - 8} more" if len(nodes) > 8 else ""
    return ", ".join(node.id for node in nodes[:8]) + more
