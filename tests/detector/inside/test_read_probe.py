"""The tables of a probe become evidence, whatever the files hold."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.detector.inside.builders import (
    ONE_HOT,
    groups_of,
    layer,
    outputs,
    panel,
    probe,
    write,
)

from backslide_detector.inside.similarity import cka
from backslide_detector.inside.units import same_units
from backslide_detector.probe import Branch, Course
from backslide_detector.store.graph import read_graph
from backslide_detector.store.probe import read_probe


@pytest.fixture
def full():
    made = probe(panel=panel())
    first = layer("conv1", outputs("conv1", units=200), remainder=np.random.default_rng(0))
    live, signatures = np.array([True, False]), np.array([[0.5, -1.0], [0.0, 0.0]])
    branch = Branch("conv3.linear1", "conv3", live, signatures)
    made = replace(made, layers=(first, *made.layers[1:]), branches=(branch,))
    course = Course(
        steps=np.array([10, 20]),
        layers=tuple(each.name for each in made.layers),
        r2=np.linspace(0.1, 0.9, 10).reshape(2, 5),
        accuracy=np.linspace(0.2, 0.8, 10).reshape(2, 5),
    )
    return replace(
        made, groups={"conv2": groups_of(made.layers[1], ONE_HOT[:3])}, course=course
    )


def test_what_was_written_is_read(full, tmp_path):
    problems = []
    read = read_probe(write(full, tmp_path), problems)
    assert problems == []
    assert (read.digest, read.examples, read.step) == (full.digest, full.examples, full.step)
    assert (read.classes, read.accuracy) == (full.classes, full.accuracy)
    assert [each.shape for each in read.layers] == [each.shape for each in full.layers]
    for mine, theirs in zip(read.layers, full.layers, strict=True):
        assert cka(mine, theirs) == pytest.approx(1.0, abs=2e-3)  # what half precision costs
        assert same_units(mine, theirs) == 1.0
        assert not mine.code.flags.writeable
        step = np.abs(theirs.remainder).max(initial=0.0) / 127
        assert mine.remainder.size == theirs.remainder.size
        assert np.abs(mine.sketch - theirs.sketch)[:, 32:].max(initial=0.0) <= step
    (branch,) = read.branches
    assert (branch.shape, branch.layer) == (("conv3.linear1", 2), "conv3")
    assert branch.live.tolist() == [True, False]
    assert branch.signatures.tolist() == [[0.5, -1.0], [0.0, 0.0]]
    assert [each.name for each in read.channels][2:4] == ["conv3.linear1", "conv3"]
    groups = read.groups["conv2"]
    assert np.allclose(groups.activity, ONE_HOT[:3])
    assert groups.maps.shape == (3, 256, 16)
    assert [c.name for c in read.labels] == [c.name for c in full.labels]
    assert np.allclose(read.course.r2, full.course.r2, atol=1e-6)
    assert np.allclose(read.course.accuracy, full.course.accuracy, atol=1e-6)
    assert read.panel == pytest.approx(full.panel) or read.panel[3].id == "id-3"


def test_without_a_manifest_there_is_no_probe(full, tmp_path):
    files = write(full, tmp_path)
    del files["probe.json"]
    problems = []
    assert read_probe(files, problems) is None
    assert problems == []


@pytest.mark.parametrize("name", ["codes", "layers"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_a_damaged_table_is_a_problem_and_no_crash(full, tmp_path, name, damage):
    files = write(full, tmp_path)
    path = files[f"{name}.parquet"]
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "gone":
            del files[path.name]
        case "empty":
            pq.write_table(pq.read_table(path).slice(0, 0), path)
    problems = []
    assert read_probe(files, problems) is None
    assert problems or damage != "cut"


def test_a_layer_without_a_whole_code_is_left_out(full, tmp_path):
    files = write(full, tmp_path)
    table = pq.read_table(files["codes.parquet"])
    pq.write_table(table.slice(1), files["codes.parquet"])
    problems = []
    assert [each.name for each in read_probe(files, problems).layers] == [
        each.name for each in full.layers[1:]
    ]
    assert "left out" in problems[0]


def test_numbers_that_are_none_do_not_pass(full, tmp_path):
    broken = replace(full.layers[0], code=np.full_like(full.layers[0].code, np.nan))
    read = read_probe(write(replace(full, layers=(broken, *full.layers[1:])), tmp_path), [])
    assert "conv1" not in [each.name for each in read.layers]


def test_only_a_png_becomes_a_thumbnail(full, tmp_path):
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    given = list(full.panel)
    given[0] = replace(given[0], thumbnail=png)
    given[1] = replace(given[1], thumbnail=b"<svg onload=alert(1)>")
    given[2] = replace(given[2], thumbnail=png + bytes(100_000))
    read = read_probe(write(replace(full, panel=tuple(given)), tmp_path), [])
    assert [each.thumbnail for each in read.panel[:4]] == [png, None, None, None]


def test_more_examples_than_agreed_are_refused(full, tmp_path):
    files = write(full, tmp_path)
    said = files["probe.json"].read_text().replace('"examples": 256', '"examples": 100000000')
    files["probe.json"].write_text(said)
    problems = []
    assert read_probe(files, problems) is None
    assert "at most 512" in problems[0]


def test_a_layer_that_never_varies_is_read():
    flat = layer("fc", np.ones((256, 8)))
    assert np.isnan(cka(flat, layer("fc1", outputs("fc1"))))
    assert same_units(flat, flat) is None


def test_a_graph_of_an_older_writer_is_read_as_modules():
    old = {
        "nodes": [{"name": "fc", "kind": "Linear", "depth": 0, "output": [8, 10]}],
        "edges": [],
    }
    graph = read_graph(old, [])
    assert graph.nodes[0].id == "fc"
    assert graph.nodes[0].type == "module"
    assert graph.kinds == {"fc": "Linear"}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"nodes": 3},
        {"nodes": [1, None, {"name": 5, "kind": "x"}]},
        {"nodes": [{"name": "a", "kind": "b", "output": [-1, "x", 2.5], "depth": "deep"}],
         "edges": [["a", "z"], 7, ["a"], ["a", "a"]]},
    ],
)  # fmt: skip
def test_any_graph_file_is_survived(value):
    graph = read_graph(value, [])
    assert graph is None or graph.edges == ()
