"""The run as a guest: quiet, harmless, and gone when asked to be."""

import json
import logging
import re
import subprocess

import pytest
import torch
from torch import nn

import backslide
from backslide.contract import BATCHES_SCHEMA, Artifact
from backslide.record import provenance
from backslide.ship import parts
from backslide.spool import points
from backslide.spool.frames import Kind
from backslide.spool.segments import read, segment_path, segments


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    monkeypatch.setenv("BACKSLIDE_SPOOL_DIR", str(tmp_path))
    return tmp_path


def records(root, kind):
    (folder,) = [path.parent for path in root.glob("*/job.json")]
    return [
        record.payload
        for number in segments(folder)
        for record in read(segment_path(folder, number), 0, closed=True).records
        if record.kind == kind
    ]


@pytest.mark.parametrize("lineage", ["", "  "])
def test_an_empty_lineage_is_the_users_mistake(lineage):
    with pytest.raises(ValueError, match="needs the lineage"):
        backslide.start(lineage)


def test_overhead_must_be_a_fraction():
    with pytest.raises(ValueError, match="between 0 and 1"):
        backslide.start("l", overhead=5)


def test_on_fault_is_one_of_two_words(offline, monkeypatch):
    with pytest.raises(ValueError, match='"ignore" or "stop"'):
        backslide.start("l", on_fault="explode")
    with backslide.start("l") as run:
        assert run.on_fault == "ignore"
    monkeypatch.setenv("BACKSLIDE_ON_FAULT", "stop")
    with backslide.start("l") as run:
        assert run.on_fault == "stop"
    with backslide.start("l", on_fault="ignore") as run:
        assert run.on_fault == "ignore"


def test_nothing_raises_into_the_loop_and_each_mistake_is_said_once(offline, caplog):
    with caplog.at_level(logging.WARNING, "backslide"), backslide.start("l") as run:
        for _ in range(3):
            run.log_predictions("test", [1, 2], [0], [1])
            run.evaluate("test", [])
            run.log_data("train", object())
        run.step(loss="not a number")
        run.log({"ok": 1.0}, also=2.0)
    assert dict(run.faults.counts) | {
        "log_predictions": 3,
        "evaluate": 3,
        "log_data": 3,
    } == dict(run.faults.counts)
    for name in ("log_predictions", "evaluate", "log_data"):
        assert sum(f"{name}()" in message for message in caplog.messages) == 1
    scalars = [points.decode(each)["values"] for each in records(offline, Kind.SCALARS)]
    assert scalars == [{"ok": 1.0, "also": 2.0}]
    (named,) = (message for message in caplog.messages if "'loss'" in message)
    assert "the text 'not a number'" in named
    assert not any("are being dropped" in message for message in caplog.messages)


def test_the_next_mistake_of_a_call_is_said_as_well_but_not_without_end(offline, caplog):
    with backslide.start("l") as run:
        for rows in range(20):
            run.log_predictions("test", range(rows), [0] * 30, [0] * 30)
    said = [message for message in caplog.messages if "log_predictions()" in message]
    assert len(said) == len(set(said)) == 5
    assert run.faults.counts["log_predictions"] == 20


def test_a_loss_without_a_name_is_the_loss(offline, caplog):
    with backslide.start("l") as run:
        run.step(torch.tensor(1.0))
        run.step(2, accuracy=0.5)
        run.step({"loss": 3.0})
        assert not caplog.messages
        run.step(9, loss=4.0)
        run.step(5.0, 9.0)
        run.step(loss=6.0)
    read = [points.decode(payload) for payload in records(offline, Kind.SCALARS)]
    assert [(p["step"], p["values"]["loss"]) for p in read] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 4.0),
        (6, 6.0),
    ]
    assert sum("without names" in message for message in caplog.messages) == 1


def test_a_step_counts_even_if_looking_fails(offline, monkeypatch):
    model = nn.Linear(2, 1)
    with backslide.start("l", model=model) as run:
        monkeypatch.setattr(run._watch, "step", lambda _: 1 / 0)
        run.step(loss=1.0)
        run.step(loss=2.0)
    read = [points.decode(payload) for payload in records(offline, Kind.SCALARS)]
    assert [(p["step"], p["values"]["loss"]) for p in read] == [(1, 1.0), (2, 2.0)]


def given(kind):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return {
        "optimizer": (model, optimizer, ""),
        "several": (model, {"all": optimizer}, ""),
        "scheduler": (
            model,
            torch.optim.lr_scheduler.StepLR(optimizer, 5),
            "a scheduler (StepLR); its optimizer (SGD) is watched",
        ),
        "parameters": (model, model.parameters(), "Parameter of shape (1, 2), which is no opt"),
        "optimizer class": (model, torch.optim.SGD, "the class SGD, which is no optimizer"),
        "model twice": (model, nn.Sequential(model), "a Sequential, which is no optimizer"),
        "model class": (nn.Linear, optimizer, "the class Linear, which is no model: make one"),
        "function": (model.forward, optimizer, "a method, which is no model"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "updates"),
    [
        ("optimizer", True),
        ("several", True),
        ("scheduler", True),
        ("parameters", False),
        ("optimizer class", False),
        ("model twice", False),
        ("model class", True),
        ("function", True),
    ],
)
def test_what_start_is_given_by_mistake_is_told_in_one_sentence(offline, caplog, kind, updates):
    model, optimizer, word = given(kind)
    with backslide.start("l", model=model, optimizer=optimizer, overhead=None) as run:
        assert bool(run._watch._steps.optimizers) == updates
    said = [m for m in caplog.messages if "not in MLflow yet" not in m]
    assert len(said) == bool(word)
    assert word in "".join(said)


def test_what_is_left_on_disk_is_said_in_a_size_that_reads(offline, caplog):
    with backslide.start("l") as run:
        run.step(loss=1.0)
    (said,) = caplog.messages
    assert re.search(r"backslide: [1-9]\d* kB of this run", said)


def test_probabilities_for_labels_are_doubted(offline, caplog):
    with backslide.start("l") as run:
        run.log_predictions("rating", [1, 2], [3, 4], [2.5, 4.5])
        run.log_predictions("value", [1, 2], [0.5, 1.0], [0.2, 0.7])
        assert not caplog.messages
        run.log_predictions("test", [1, 2], [0, 1], [0.2, 0.7])
    assert "scores=" in caplog.messages[0]


def test_ctrl_c_and_the_users_own_exceptions_pass(offline):
    with pytest.raises(KeyboardInterrupt), backslide.start("l") as run:
        raise KeyboardInterrupt
    assert json.loads(records(offline, Kind.END)[0])["status"] == "KILLED"
    run.step(loss=1.0)  # after the end: nothing happens
    run.finish()
    assert run.id is None
    assert run.should_stop is False


def test_log_is_at_the_current_step(offline):
    with backslide.start("l") as run:
        run.log(before=0.0)
        run.step(loss=1.0)
        run.step(loss=0.5)
        run.log(val_loss=0.7)
    read = [points.decode(payload) for payload in records(offline, Kind.SCALARS)]
    assert [(p["step"], *p["values"]) for p in read] == [
        (0, "before"),
        (1, "loss"),
        (2, "loss"),
        (2, "val_loss"),
    ]


def test_an_unwritable_folder_falls_back_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "file").touch()
    with (
        caplog.at_level(logging.WARNING),
        backslide.start("l", spool_dir=tmp_path / "file") as run,
    ):
        run.step(loss=1.0)
    assert any("cannot be written" in message for message in caplog.messages)
    assert len(records(tmp_path / "backslide-spool", Kind.SCALARS)) == 1


def test_only_the_first_rank_records(offline, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with backslide.start("l") as run:
        run.step(loss=1.0)
        run.log_predictions("test", [1], [1], [1])
    assert run.id is None
    assert list(offline.iterdir()) == []


def test_a_watched_model_leaves_layers_and_provenance(offline):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with backslide.start("l", model=model, optimizer=optimizer, params={"a": {"b": 1}}) as run:
        for _ in range(5):
            loss = model(torch.randn(8, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.step(loss=loss)
    assert len(records(offline, Kind.CATALOGUE)) >= 1
    assert len(records(offline, Kind.SNAPSHOT)) >= 1
    rows = [json.loads(p) for p in records(offline, Kind.BATCH)]
    assert (rows[0]["step"], rows[0]["examples"]) == (1, 8)
    (table,) = [
        parts.sort(read(segment, 0, closed=True).records, segment.parent).tables[
            Artifact.BATCHES
        ]
        for segment in offline.glob("*/segment-000001.log")
    ]
    assert table.schema == BATCHES_SCHEMA
    assert table["digests"].to_pylist() == [row["digests"] for row in rows]
    assert [json.loads(p) for p in records(offline, Kind.PARAMS)] == [{"a.b": "1"}]
    files = {path.name: path for path in offline.glob("*/files/*/*")}
    assert "graph.json" in files
    newest = json.loads(records(offline, Kind.ARTIFACT)[-1])
    (folder,) = [path.parent for path in offline.glob("*/job.json")]
    origin = json.loads((folder / newest["file"]).read_text())
    assert origin["seed"] == 3
    assert origin["packages"]["torch"] == torch.__version__
    assert origin["environment"]["device"] == "cpu"
    assert origin["initial_weights"] != origin["final_weights"]
    assert origin["final_weights"] == provenance.weights_digest(model)


def test_the_digest_of_the_weights_sees_one_changed_value():
    model = nn.Linear(50, 50)
    before = provenance.weights_digest(model)
    assert provenance.weights_digest(model) == before
    with torch.no_grad():
        model.weight[49, 49] += 1e-3
    assert provenance.weights_digest(model) != before


def test_git_says_commit_and_what_differs(tmp_path):
    assert provenance.git(tmp_path) is None

    def git(*arguments):
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True
        )

    git("init")
    (tmp_path / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    clean = provenance.git(tmp_path)
    assert (len(clean["commit"]), clean["dirty"], clean["diff_digest"]) == (40, False, None)
    (tmp_path / "a.py").write_text("2")
    first = provenance.git(tmp_path)
    (tmp_path / "a.py").write_text("3")
    second = provenance.git(tmp_path)
    assert first["dirty"]
    assert first["diff_digest"] != second["diff_digest"]
