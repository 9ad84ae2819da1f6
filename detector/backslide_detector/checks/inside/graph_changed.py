"""A network that is built in another way than its predecessor.

What it looks for:
    Modules and operations that ran in one of the two runs alone, ran in both with another
    kind, another shape or other numbers of parameters, no longer ran, or were joined in
    another way.

Why it matters:
    A slipped-in activation, a skip that is gone or an expert that is never called changes what
    can be learned, without a word in the settings.

What usually causes it:
    An edit of the model's code, or another version of the library that defines it.

What to do:
    If the change was meant, nothing. Otherwise look at the commit that brought it.

When it is wrong:
    It says what ran, not what could run: a branch that this run's examples did not take looks
    like one that is gone.

References:
    None: it compares names, kinds and shapes.
"""

from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.graph import Node
from backslide_detector.inside.graph_diff import GraphDiff, graph_diff
from backslide_detector.inside.pair import Pair

_NAMED = 3


def check(pair: Pair) -> Found | Clear | Skipped:
    """Both networks as they ran."""
    if pair.new.graph is None or pair.old.graph is None:
        return Skipped("one of the two runs has no graph (backslide.start(model=...))")
    diff = graph_diff(pair.new.graph, pair.old.graph)
    first = diff.first
    if not diff:
        return Clear()
    edges = len(diff.joined) + len(diff.parted)
    return Found(
        Severity.NOTE,
        f"The network differs from that of {pair.old.name}: {_words(diff)}.",
        "If this was meant, nothing is to be done; otherwise look at the change of the code.",
        layer=None if first is None else first.name or None,
        numbers={
            "added": float(len(diff.added)),
            "removed": float(len(diff.removed)),
            "changed": float(len(diff.changed)),
            "connections": float(edges),
        },
    )


def _words(diff: GraphDiff) -> str:
    parts = []
    if diff.added:
        parts.append(f"{len(diff.added)} new ({_listed(diff.added)})")
    if diff.removed:
        parts.append(f"{len(diff.removed)} gone ({_listed(diff.removed)})")
    if diff.changed:
        shown = ", ".join(_change(*pair) for pair in diff.changed[:_NAMED])
        more = ", ..." if len(diff.changed) > _NAMED else ""
        parts.append(f"{len(diff.changed)} changed ({shown}{more})")
    if (edges := len(diff.joined) + len(diff.parted)) and not parts:
        start, end = (*diff.joined, *diff.parted)[0]
        parts.append(f"{edges} connections ({start} to {end}{', ...' if edges > 1 else ''})")
    elif edges:
        parts.append(f"{edges} connections")
    return "; ".join(parts)


def _listed(nodes: tuple[Node, ...]) -> str:
    shown = ", ".join(f"{node.id}: {node.kind}" for node in nodes[:_NAMED])
    return shown + (", ..." if len(nodes) > _NAMED else "")


def _change(old: Node, new: Node) -> str:
    if old.type != new.type:
        return f"{new.id}: {'never ran' if new.type == 'ghost' else 'runs now'}"
    if old.kind != new.kind:
        return f"{new.id}: {old.kind} became {new.kind}"
    if old.output != new.output:
        return f"{new.id}: {_shape(old)} became {_shape(new)}"
    return f"{new.id}: {old.parameters:,} parameters became {new.parameters:,}"


def _shape(node: Node) -> str:
    return "×".join(str(size) for size in node.output[1:]) or "a number"
