"""The sections about the inside, single examples and confusion: what they show."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.inside.builders import (
    CLASSES,
    NAMES,
    ONE_HOT,
    groups_of,
    healthy,
    inside,
    outputs,
    panel,
    probe,
)
from tests.detector.inside.test_checks import reset
from tests.detector.report.hostile import ATTACKS
from tests.detector.report.html_reader import Page
from tests.detector.report.story import BARE, BARE_RUN, JUDGEMENT, NEW, OLD, history

from backslide_detector.evidence import Predictions
from backslide_detector.finding import Found, Result, Severity
from backslide_detector.inside.pair import Pair
from backslide_detector.inside.warm import KeptUnits
from backslide_detector.probe import Concept
from backslide_detector.report.links import Links
from backslide_detector.report.page import page
from backslide_detector.report.section import Absent
from backslide_detector.report.sections.confusion import confusion
from backslide_detector.report.sections.examples import examples
from backslide_detector.report.sections.inside import _weights_of
from backslide_detector.report.sections.inside import inside as what_layers_do
from backslide_detector.report.sections.parameters import updates, weights

PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)
CHANGED = Result("layer-changed", Found(Severity.NOTE, "s", "a", layer="conv3"))


def shown(new, old=None, references=(), judgement=BARE):
    pair = None if old is None else Pair(inside(of=new, parent="old"), old, references)
    return what_layers_do(judgement, replace(BARE_RUN, probe=new), pair)


def pictures(section):
    return [str(figure.picture) for block in section.blocks for figure in block.figures]


def test_channels_that_changed_are_marked():
    section = shown(reset("conv3"), inside("old"), judgement=replace(BARE, results=(CHANGED,)))
    assert section.blocks[0].title == "Channels that still do what they did in old"
    channels = pictures(section)[0]
    assert "▲ conv3" in channels
    assert "conv1 100%" in channels
    assert "1 healthy run of this network" in section.lead
    assert "not judged" in section.lead


def test_where_channels_are_seen_and_whose_weights_changed_are_told_apart():
    kept = [KeptUnits("1", "0", 0.9), KeptUnits("3", "2", 0.1), KeptUnits("4", "4", 0.1)]
    said = _weights_of(kept, {"2", "4"})
    assert said.startswith("3 is where the channels are seen, 2 has their weights")
    assert ";" not in said


def test_healthy_runs_make_a_band_and_a_matrix_of_differences():
    references = tuple(inside(f"h{i}", healthy(i + 1)) for i in range(9))
    section = shown(healthy(50), inside("old", healthy(60)), references)
    titles = [figure.title for block in section.blocks for figure in block.figures]
    assert titles.count("difference") == 1
    assert "Usual is what 10 healthy runs" in section.lead
    assert any('class="band"' in picture for picture in pictures(section))


def test_other_examples_are_said_and_only_the_run_itself_is_shown():
    section = shown(probe(digest="another"), inside("old"))
    assert "not comparable" in section.lead
    assert [block.title for block in section.blocks] == [
        "How well the labels can be read, from input to output"
    ]


def test_groups_show_their_examples_with_thumbnails_only_where_there_are_any():
    fc1 = probe().layer("fc1")
    given = replace(
        probe(panel=tuple(replace(each, thumbnail=PNG) for each in panel())),
        groups={"fc1": groups_of(fc1, ONE_HOT)},
    )
    seen = pictures(shown(probe(), inside("old", given)))
    tiles = next(picture for picture in seen if "Groups and the classes" in picture)
    assert tiles.count("<image") == 2 * 8 * CLASSES  # the example and where the group fires
    bare = replace(given, panel=())
    seen = pictures(shown(probe(), inside("old", bare)))
    tiles = next(picture for picture in seen if "Groups and the classes" in picture)
    assert tiles.count("<image") == 8 * CLASSES


def test_without_a_probe_it_says_how_to_get_one():
    absent = what_layers_do(BARE, BARE_RUN, None)
    assert isinstance(absent, Absent)
    assert "run.probe" in absent.reason


def table(said, right="0", score=None, ids=None):
    n = len(said)
    return Predictions(
        ids=np.array([f"id-{i}" for i in range(n)] if ids is None else ids, dtype=object),
        targets=np.array([right] * n, dtype=object),
        predictions=np.array(list(said), dtype=object),
        correct=np.array([s == right for s in said]),
        score=None if score is None else np.array(score),
    )


def two(now, before):
    return (
        replace(BARE_RUN, predictions={"test": now}),
        replace(BARE_RUN, predictions={"test": before}),
    )


def test_examples_are_fixed_newly_broken_and_wrong_with_confidence():
    new, old = two(table("0110", score=[0.9, 0.6, 0.8, 0.7]), table("0011"))
    section = examples(BARE, new, old)
    rows = {t.caption.partition(":")[0]: t.rows for t in section.tables}
    assert [row[0] for row in rows["Newly wrong"]] == ["id-1"]
    assert [row[0] for row in rows["Fixed"]] == ["id-3"]
    assert [row[0] for row in rows["Wrong with the most confidence"]] == ["id-2", "id-1"]
    assert section.blocks == ()
    assert "thumbnails=True" in section.lead


def test_thumbnails_are_joined_by_id():
    new, old = two(table("0110", score=[0.9, 0.6, 0.8, 0.7]), table("0011"))
    seen = tuple(
        replace(each, thumbnail=PNG if each.id == "id-1" else None) for each in panel()
    )
    section = examples(BARE, replace(new, probe=probe(panel=seen)), old)
    assert [block.title for block in section.blocks] == [
        "Newly wrong (1)", "Wrong with the most confidence (2)",
    ]  # fmt: skip
    (figure,) = section.blocks[0].figures
    assert figure.caption == "is 0, said 1 (60%), before 0"
    assert "data:image/png;base64," in str(figure.picture)


def test_confusion_counts_now_and_the_change_on_common_examples():
    section = confusion(JUDGEMENT, NEW, OLD)
    now, change = section.blocks[0].figures
    assert "strongest: 8 and 9" in str(now.picture)
    assert "500 examples of both runs" in change.caption
    first = section.tables[0].rows[0]
    wrong = int((~NEW.predictions["test"].correct & (np.arange(500) % 10 == 8)).sum())
    assert first[:3] == ("8", "9", str(wrong))
    alone = confusion(JUDGEMENT, NEW, None)
    assert len(alone.blocks[0].figures) == 1


def test_many_classes_are_thinned_and_it_says_so():
    said = [str(i + 1) for i in range(60)]
    section = confusion(BARE, *two(table(said), table(said)))
    assert "20 of 61 classes" in section.lead


@pytest.mark.parametrize("build", [examples, confusion])
def test_values_are_no_classes(build):
    numbers = np.array([1.0, 2.0], dtype=object)
    values = Predictions(np.array(["a", "b"], object), numbers, numbers, np.array([True, True]))
    assert isinstance(
        build(BARE, replace(BARE_RUN, predictions={"test": values}), None), Absent
    )


def test_weights_and_updates_are_drawn_like_gradients():
    run = replace(BARE_RUN, weights=history(4), updates=history(70))
    assert len(weights(BARE, run, None).blocks[0].figures) == 4
    section = updates(BARE, run, None)
    assert "Drawn: 60 of 70 layers" in section.lead
    assert isinstance(weights(BARE, BARE_RUN, None), Absent)


def test_hostile_names_inside_stay_text():
    text = " ".join(ATTACKS[:20])
    layers = tuple(
        replace(each, name=text + each.name, weights=text) for each in probe().layers
    )
    labels = tuple(Concept(text + str(i), "label", row) for i, row in enumerate(ONE_HOT))
    people = tuple(replace(each, id=text, target=text) for each in panel())
    given = replace(
        probe(),
        layers=layers,
        concepts=labels,
        panel=people,
        classes=(text,) * CLASSES,
        groups={layers[0].name: groups_of(layers[0], outputs(NAMES[0])[:, :4].T)},
    )
    new = replace(BARE_RUN, probe=given)
    html = page(BARE, new, replace(BARE_RUN, name=text, probe=given), Links())
    read = Page(html)
    assert not [name for name in read.attributes() if name.startswith("on")]
    assert not read.names() & {"img", "iframe", "object"}
    assert [tag for tag, _ in read.elements].count("script") == 1
