"""What is written onto a run: complete, bounded, and never over a person's words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.detector.shell.builders import URI, a_run

from backslide.contract import NOTE_BEGIN, NOTE_END, TEXT_LIMIT, Metric, Tag
from backslide_detector.act.addresses import links
from backslide_detector.act.view import STATE
from backslide_detector.act.writeback import note, writes
from backslide_detector.engine import Case, judge
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.store import Writes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9_000).filter(
    lambda text: NOTE_BEGIN not in text and NOTE_END not in text
)


def head_of(run: RunEvidence) -> RunHead:
    return RunHead(
        run.run_id,
        run.name,
        run.experiment_id,
        run.status,
        run.started,
        run.ended,
        run.lineage,
        tags=run.tags,
    )


def all_writes(new: RunEvidence, old: RunEvidence | None, **changes) -> Writes | None:
    judgement = replace(judge(Case(new, old)).judgement, **changes)
    head = head_of(new)
    return writes(judgement, head, 1, new=new, old=old, links=links(URI, head))


@given(TEXT, TEXT)
def test_a_persons_words_around_our_block_stay(before, after):
    first = note(before, "ours")
    assert before in first or first == before
    edited = f"{before}{NOTE_BEGIN}\nold\n{NOTE_END}{after}"
    again = note(edited, "new words")
    assert again.startswith(before)
    assert again.endswith(after)
    if len(before) + len(after) < TEXT_LIMIT - 200:
        assert "new words" in again
        assert "old\n" not in again.replace(before, "").replace(after, "")
        assert len(again) <= TEXT_LIMIT
    assert note(again, "new words") == again


def test_a_long_block_gives_way_at_a_line():
    block = "\n".join(f"line {n}" for n in range(2_000))
    written = note("mine", block)
    assert len(written) <= TEXT_LIMIT
    assert written.endswith("mine")
    assert written.partition(NOTE_END)[0].rstrip().rpartition("\n")[2].startswith("line ")


def test_a_person_who_deletes_our_end_marker_loses_nothing():
    assert note(f"a{NOTE_BEGIN}my own words", "ours").endswith("my own words")


def test_the_same_judgement_is_written_once():
    new, old = a_run(1, 0.09), a_run(0, 0.05)
    first = all_writes(new, old)
    assert first is not None
    assert list(first.marks) == [Tag.VERDICT, Tag.REVISION]
    tags = {**new.tags, **first.tags, **first.marks}
    assert all_writes(replace(new, tags=tags), old) is None


def test_tags_of_an_older_judgement_are_taken_away():
    stale = {Tag.STOP: "x", Tag.CAUSE: "data", Tag.FINDINGS: "dead-units"}
    left = all_writes(a_run(0, tags=stale), None)
    assert left is not None
    assert set(left.removed) == set(stale)


@pytest.mark.parametrize(("pvalue", "evidence"), [(0.0, 300.0), (0.05, 1.30103), (1.0, 0.0)])
def test_evidence_is_minus_log10_of_p(pvalue, evidence):
    new = a_run(1)
    verdict = replace(
        judge(Case(new, a_run(0))).judgement.retrain,
        model=Estimand(effect=float("nan"), interval=(float("-inf"), 0.1), pvalue=pvalue),
    )
    left = all_writes(new, a_run(0), retrain=verdict)
    assert left is not None
    assert left.metrics[Metric.EVIDENCE] == pytest.approx(evidence)
    assert Metric.ERROR_DELTA not in left.metrics, "NaN is no number to sort by"
    assert left.metrics[Metric.ERROR_DELTA_HIGH] == 0.1


def test_hostile_names_stay_within_limits_and_execute_nothing():
    name = "<script>alert(1)</script>../" * 200
    new = a_run(1, 0.09, name=name, lineage=name, tags={Tag.LINEAGE: name})
    left = all_writes(new, a_run(0, 0.05, name=name))
    assert left is not None
    assert all(len(value) <= TEXT_LIMIT for value in left.tags.values())
    assert all("<script>alert" not in text for text in left.artifacts.values())
    assert "<script>" not in left.tags[Tag.NOTE]


def test_the_saved_view_is_the_documented_one():
    documented = Path(__file__).parents[3] / "docs" / "saved-view.json"
    assert json.loads(STATE) == json.loads(documented.read_text())
