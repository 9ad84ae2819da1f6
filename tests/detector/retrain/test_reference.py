"""Which run alarms are raised against."""

from dataclasses import replace

from backslide.contract import Verdict
from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.reference import choose_anchor, choose_reference

ERROR = ErrorRate("test", 0.03, 100, "x")


def past(name, started, **extra):
    return PastRun(name, name, started, **{"lineage": "a", "error": ERROR, **extra})


NEW = past("new", 10.0)
FIRST = past("first", 1.0, verdict=Verdict.FIRST)


def test_a_verdict_does_not_move_it():
    """Equivalent may be worse within the margin; improved, only better than a bad one."""
    runs = [FIRST, past("equivalent", 2.0, verdict=Verdict.EQUIVALENT)]
    runs.append(past("improved", 3.0, verdict=Verdict.IMPROVED))
    assert choose_reference(NEW, runs).run.run_id == "first"


def test_a_person_and_a_lineage_that_got_better_move_it():
    better, accepted = past("better", 2.0, lead="better"), past("a", 3.0, decision="accepted")
    assert choose_reference(NEW, [FIRST, better]).why.endswith("the lineage got better")
    assert choose_reference(NEW, [FIRST, better, accepted]).run == accepted
    assert choose_reference(NEW, [FIRST, accepted, replace(better, started=4.0)]).run.lead
    assert choose_anchor(NEW, [FIRST, better]).run == FIRST, "creep is measured from afar"


def test_a_rejected_run_that_led_does_not_stay():
    led = past("led", 2.0, lead="better", decision="rejected")
    assert choose_reference(NEW, [FIRST, led]).run == FIRST


def test_a_new_test_set_begins_with_the_first_run_that_was_tested_on_it():
    other = past("other", 2.0, lead="first", test_set="old")
    start = past("start", 3.0, lead="first", test_set="new")
    runs = [FIRST, other, start, past("next", 4.0, test_set="new")]
    assert choose_reference(replace(NEW, test_set="new"), runs).run == start
    assert choose_reference(replace(NEW, test_set="old"), runs).run == other
    # One that grew, say: it may have enough in common with what the lineage began with.
    assert choose_reference(replace(NEW, test_set="third"), runs).run == FIRST
    assert choose_reference(NEW, runs).run == FIRST
