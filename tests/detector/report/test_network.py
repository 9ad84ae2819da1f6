"""The graph as a picture: few boxes, in order, with what was measured and what changed."""

import re
import time
from dataclasses import replace

import pytest
from tests.detector.inside.builders import inside
from tests.detector.inside.test_measures import CHAIN, changed
from tests.detector.report.hostile import ATTACKS
from tests.detector.report.html_reader import Page
from tests.detector.report.story import BARE, BARE_RUN, NEW

from backslide_detector.graph import Graph, Node
from backslide_detector.inside.pair import Pair
from backslide_detector.report.collapse import MOST, collapsed
from backslide_detector.report.links import Links
from backslide_detector.report.page import page
from backslide_detector.report.pictures.graph import State, graph
from backslide_detector.report.pictures.layout import layout
from backslide_detector.report.section import Absent
from backslide_detector.report.sections.network import network


def deep(blocks=80, name="blocks"):
    """A residual network of six nodes a block."""
    nodes = [Node("input", "input", "input", "input", 0)]
    edges, last = [], "input"
    for b in range(blocks):
        start = last
        for part, kind in (("c1", "Conv2d"), ("b1", "BatchNorm2d"), ("relu", "relu"),
                           ("c2", "Conv2d"), ("b2", "BatchNorm2d")):  # fmt: skip
            key = f"{name}.{b}.{part}"
            operation = part == "relu"
            nodes.append(
                Node(key, f"{name}.{b}" if operation else key, kind,
                     "operation" if operation else "module", len(nodes), 10, (1, 16, 8, 8))
            )  # fmt: skip
            edges.append((last, key))
            last = key
        key = f"{name}.{b}.add"
        nodes.append(Node(key, f"{name}.{b}", "add", "operation", len(nodes)))
        edges += [(last, key), (start, key)]
        last = key
    return Graph(tuple(nodes), tuple(edges))


def drawn(given, pair=None, judgement=BARE, **run):
    section = network(judgement, replace(BARE_RUN, graph=given, **run), pair)
    return section, str(section.blocks[0].figures[0].picture)


def test_five_hundred_nodes_become_sixty_boxes_in_less_than_a_second():
    given = deep(84)
    assert len(given.nodes) > 500
    start = time.process_time()
    section, picture = drawn(given)
    assert time.process_time() - start < 1.0
    assert 30 <= picture.count('class="box ') <= MOST
    assert "shown as" in section.blocks[0].figures[0].caption
    assert len(picture) < 60_000


def test_a_flat_network_of_hundreds_is_shown_in_runs():
    nodes = tuple(Node(f"{i}", f"{i}", "Linear", depth=i, output=(1, 8)) for i in range(500))
    flat = Graph(nodes, tuple((f"{i}", f"{i + 1}") for i in range(499)))
    sketch = collapsed(flat)
    assert 30 <= len(sketch.boxes) <= MOST
    assert sum(len(box.members) for box in sketch.boxes) == 500
    depths = [node.depth for box in sketch.boxes for node in box.members]
    assert depths == sorted(depths)
    assert len(sketch.edges) == len(sketch.boxes) - 1


def test_small_networks_are_shown_whole():
    given = deep(3)
    assert len(collapsed(given).boxes) == len(given.nodes)


def test_what_is_marked_gets_a_box_of_its_own():
    sketch = collapsed(deep(84), ["blocks.41.c2"])
    assert ("blocks.41.c2",) in [tuple(n.id for n in box.members) for box in sketch.boxes]


@pytest.mark.parametrize("most", [3, 10, 60])
def test_nothing_is_lost_by_collapsing(most):
    given = deep(20)
    sketch = collapsed(given, most=most)
    assert len(sketch.boxes) <= most
    assert sorted(n.id for box in sketch.boxes for n in box.members) == sorted(
        n.id for n in given.nodes
    )
    assert all(a != b for a, b in sketch.edges)


def test_skips_run_beside_and_are_dashed():
    _, picture = drawn(deep(2))
    assert picture.count('class="edge skip"') == 2
    chain = [("a", "b"), ("b", "c"), ("c", "d")]
    plan = layout(list("abcd"), [*chain, ("a", "d"), ("b", "d")])
    assert [len(row) for row in plan.rows] == [1, 1, 1, 1]
    lanes = dict(plan.skips)
    assert lanes["b", "d"] != lanes["a", "d"]
    assert plan.lanes == 2


def test_a_loop_of_a_collapsed_graph_is_drawn():
    plan = layout(["a", "b"], [("a", "b"), ("b", "a")])
    assert plan.near == (("a", "b"),)
    assert [edge for edge, _ in plan.skips] == [("b", "a")]


def test_experts_never_called_are_ghosts():
    given = Graph((*CHAIN.nodes, Node("expert", "expert", "Linear", "ghost", 9)), CHAIN.edges)
    section, picture = drawn(given)
    assert 'class="box ghost"' in picture
    assert "never called" in picture
    assert ("box-ghost", "never called") in section.blocks[0].legend


def test_colours_follow_what_was_measured_and_grey_what_was_not():
    names = NEW.activations.layers
    nodes = [Node(n, n, "Conv2d", depth=i) for i, n in enumerate(names)]
    chain = Graph((*nodes, Node("head", "head", "Linear", depth=9)))
    dead = NEW.activations.dead_fraction.copy()
    dead[:] = 0.1
    dead[:, 2] = 0.8
    history = replace(NEW.activations, dead_fraction=dead)
    section, picture = drawn(chain, activations=history)
    boxes = re.findall(r'class="box (\w+)"', picture)
    assert boxes == ["good", "good", "bad", "good", "grey"]
    assert "80% dead" in picture
    assert "80% dead" in str(section.tables)
    assert "red: blocks.2.conv" in picture


def test_differences_are_marked_and_listed():
    old = Graph((*CHAIN.nodes, Node("gone", "gone", "Dropout", depth=5)), CHAIN.edges)
    new = changed(act={"kind": "Sigmoid"})
    section, picture = drawn(new, Pair(inside(graph=new), inside("old", graph=old)))
    assert "± act" in picture
    assert "Gone since the predecessor: gone" in section.lead
    rows = section.tables[0].rows
    assert ("changed", "act", "ReLU, 16", "Sigmoid, 16") in rows


def test_a_run_without_a_graph_says_so():
    assert isinstance(network(BARE, BARE_RUN, None), Absent)


def test_a_graph_without_edges_is_a_chain_and_says_so():
    section, picture = drawn(Graph(CHAIN.nodes))
    assert picture.count('class="edge"') == 3
    assert "not recorded" in section.blocks[0].figures[0].caption


def test_every_picture_has_words():
    _, picture = drawn(deep(2))
    assert re.search(r'aria-label="Graph of the network[^"]+"', picture)


def test_hostile_names_stay_text():
    for text in ATTACKS:
        nodes = (Node(text, text, text, "module", 0), Node("b", text, text, "ghost", 1))
        given = Graph(nodes, ((text, "b"),))
        html = page(BARE, replace(BARE_RUN, graph=given), None, Links())
        names = Page(html).names()
        assert "img" not in names
        assert not [a for a in Page(html).attributes() if a.startswith("on")]


def test_a_box_can_be_drawn_without_a_state():
    sketch = collapsed(CHAIN)
    assert 'class="box grey"' in graph(sketch, {})
    state = {sketch.boxes[0].key: State("bad", "x", "y", "new")}
    assert "+ input" in graph(sketch, state)
