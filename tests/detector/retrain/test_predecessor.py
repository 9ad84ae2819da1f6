"""Which run is the baseline."""

from backslide.contract import Health, Verdict
from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.predecessor import choose_predecessor

ERROR = ErrorRate("test", 0.03, 100, "x")


def past(name, started, **extra):
    return PastRun(name, name, started, **{"lineage": "a", "error": ERROR, **extra})


NEW = past("new", 10.0)


def chosen(*candidates, pinned=None, new=NEW):
    return choose_predecessor(new, candidates, pinned=pinned)


def test_the_last_accepted_run_is_chosen():
    result = chosen(past("a", 1.0), past("b", 2.0), NEW, past("later", 11.0))
    assert result.run.run_id == "b"
    assert "last accepted" in result.why


def test_unfit_runs_are_passed_over_and_named():
    result = chosen(
        past("good", 1.0),
        past("other", 2.0, lineage="b"),
        past("slow", 3.0, finished=False),
        past("bad", 4.0, verdict=Verdict.REGRESSED),
        past("sick", 5.0, health=Health.FAILING),
        past("no", 6.0, decision="rejected"),
        past("mute", 7.0, error=None),
    )
    assert result.run.run_id == "good"
    assert "passed over 4" in result.why
    assert "mute (states no error)" in result.why


def test_a_person_may_accept_a_regressed_run():
    accepted = past("bad", 4.0, verdict=Verdict.REGRESSED, decision="accepted")
    assert chosen(past("good", 1.0), accepted).run.run_id == "bad"


def test_a_pinned_run_wins_whatever_its_lineage():
    result = chosen(past("a", 1.0), past("pin", 0.5, lineage="b"), pinned="pin")
    assert result.run.run_id == "pin"
    assert chosen(past("a", 1.0), pinned="gone").run is None


def test_no_lineage_and_first_run_are_told_apart():
    assert "no lineage" in chosen(past("a", 1.0), new=past("new", 10.0, lineage=None)).why
    assert "first run" in chosen().why
    assert "no earlier run" in chosen(past("a", 1.0, decision="rejected")).why
