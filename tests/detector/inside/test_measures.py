"""What is computed between two probes, against other ways to compute it."""

import numpy as np
import pytest
from tests.detector.inside.builders import (
    CLASSES,
    EXAMPLES,
    NAMES,
    ONE_HOT,
    healthy,
    inside,
    layer,
    outputs,
    probe,
    warm,
)

from backslide_detector.graph import Graph, Node
from backslide_detector.inside.formation import formation_shift, formed_at, levels
from backslide_detector.inside.graph_diff import graph_diff
from backslide_detector.inside.pair import Pair
from backslide_detector.inside.readability import read_accuracy, readability
from backslide_detector.inside.readout import last_hidden, readout
from backslide_detector.inside.similarity import between_classes, cka
from backslide_detector.inside.spread import surprise
from backslide_detector.inside.units import same_units


def hsic_cka(x, y):
    """Kornblith et al. 2019, equations 3 and 4, word by word."""
    h = np.eye(len(x)) - 1 / len(x)

    def hsic(k, m):
        return np.trace(h @ k @ h @ m)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("seed", range(4))
def test_similarity_from_codes_is_that_of_all_features(seed):
    """Layers of trained networks have spectra that fall about like these."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(EXAMPLES, 60)) / np.arange(1, 61)
    one, other = (np.maximum(seen @ rng.normal(size=(60, n)), 0.0) for n in (200, 120))
    exact = hsic_cka(one, other)
    assert cka(layer("a", one), layer("a", other)) == pytest.approx(exact, abs=0.002)
    assert 0.5 < exact < 0.999


@pytest.mark.parametrize("seed", range(4))
def test_similarity_of_flat_spectra_is_that_of_all_features(seed):
    """As behind the blocks of a residual network: a hundred directions count."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(EXAMPLES, 100)) / np.sqrt(np.arange(1, 101))
    one, other = (np.maximum(seen @ rng.normal(size=(100, n)), 0.0) for n in (200, 120))
    exact = hsic_cka(one, other)
    alone = cka(layer("a", one), layer("a", other))
    layers = [layer("a", values, remainder=rng) for values in (one, other)]
    assert alone < exact - 0.02
    assert cka(*layers) == pytest.approx(exact, abs=0.004)
    assert cka(layers[0], layers[0]) == 1.0


def test_channels_in_another_order_are_not_the_same_but_as_similar():
    values = outputs("conv2")
    turned = values[:, np.roll(np.arange(24), 1)]
    one, other = layer("conv2", values), layer("conv2", turned)
    assert cka(one, other) == pytest.approx(1.0, abs=1e-6)
    assert same_units(one, other) < 0.1
    assert same_units(one, one) == 1.0


def test_dead_channels_do_not_count_but_dying_ones_do():
    values = outputs("conv2")
    dead = values.copy()
    dead[:, :6] = 0.0
    assert same_units(layer("conv2", dead), layer("conv2", dead)) == 1.0
    assert same_units(layer("conv2", dead), layer("conv2", values)) == pytest.approx(18 / 24)
    assert same_units(layer("conv2", values[:, :20]), layer("conv2", values)) is None


def test_readability_is_that_of_a_library():
    """scikit-learn's Ridge with the same folds and penalty."""
    linear = pytest.importorskip("sklearn.linear_model")
    code = layer("conv3", outputs("conv3")).code.astype(float)
    fold = np.random.default_rng(0).permutation(EXAMPLES) % 4
    left = np.zeros(CLASSES)
    total = np.zeros(CLASSES)
    for held in range(4):
        train, test = fold != held, fold == held
        known = code[train] - code[train].mean(axis=0)
        penalty = 1e-3 * np.square(known).sum() / code.shape[1]
        reader = linear.Ridge(alpha=penalty).fit(code[train], ONE_HOT.T[train])
        left += np.square(ONE_HOT.T[test] - reader.predict(code[test])).sum(axis=0)
        total += np.square(ONE_HOT.T[test] - ONE_HOT.T[train].mean(axis=0)).sum(axis=0)
    assert readability(code, ONE_HOT) == pytest.approx(1 - left / total, abs=1e-9)


def test_readability_of_noise_is_not_above_zero():
    noise = np.random.default_rng(0).normal(size=(EXAMPLES, 32))
    assert (readability(noise, ONE_HOT) < 0.02).all()
    assert read_accuracy(noise, ONE_HOT) < 0.3
    assert np.isnan(readability(noise, np.ones((1, EXAMPLES)))).all()


def test_between_classes_is_one_for_classes_alone_and_small_for_noise():
    assert between_classes(layer("a", ONE_HOT.T), ONE_HOT) == pytest.approx(1.0, abs=1e-6)
    noise = np.random.default_rng(0).normal(size=(EXAMPLES, 32))
    assert between_classes(layer("a", noise), ONE_HOT) < 0.06


def test_a_prediction_interval_of_textbooks():
    """Hahn and Meeker: mean 50.10, s 1.31, n = 5, so 50.10 ± 3.98 (t = 2.776)."""
    values = np.array([51.4, 49.5, 48.7, 49.3, 51.6])
    assert values.mean() == pytest.approx(50.10)
    assert values.std(ddof=1) == pytest.approx(1.31, abs=0.005)
    assert surprise(50.10 - 3.98, values, 0.0, both=True).pvalue == pytest.approx(
        0.05, abs=2e-3
    )
    assert surprise(50.10 - 3.98, values, 0.0).pvalue == pytest.approx(0.025, abs=1e-3)


def test_a_floor_keeps_equal_runs_from_shouting():
    assert surprise(0.98, np.full(8, 0.99), 0.01).pvalue > 0.1
    assert surprise(0.98, np.full(1, 0.99), 0.01) is None
    assert surprise(float("nan"), np.full(8, 0.99), 0.01) is None


def forming(seed, delay=0):
    """Seven layers in which the classes come up around the third, or so many later."""
    rise = 1 / (1 + np.exp(1.5 * (2 + delay - np.arange(7))))
    names = [f"fc{i}" for i in range(7)]
    return probe(
        {n: outputs(n, seed=seed * 10 + i, signal=rise[i]) for i, n in enumerate(names)}
    )


def test_concepts_that_form_a_layer_later_are_seen_together():
    references = tuple(inside(f"h{i}", forming(i + 1)) for i in range(9))
    old = inside("old", forming(60))
    shift = formation_shift(Pair(inside(of=forming(50, delay=1)), old, references))
    assert shift.layers == pytest.approx(1.0, abs=0.35)
    assert shift.interval[0] > 0
    assert shift.surprise.pvalue < 0.005
    same = formation_shift(Pair(inside(of=forming(51)), old, references))
    assert same.surprise.pvalue > 0.01
    assert abs(same.layers) < 0.3


def test_a_label_becomes_readable_where_it_has_risen_by_half():
    assert formed_at(np.array([0.1, 0.2, 0.55, 0.8, 0.9])) == 2
    assert formed_at(np.array([0.5, 0.52, 0.51])) is None


def test_a_class_that_no_layer_knows_has_a_low_level():
    blind = ONE_HOT.copy()
    blind[3] = 0
    values = {
        name: np.maximum(
            np.concatenate(
                [blind.T * 2, np.random.default_rng(7).normal(size=(EXAMPLES, 10))], 1
            )
            @ np.random.default_rng([0, i]).normal(size=(18, 24)),
            0.0,
        )
        for i, name in enumerate(NAMES)
    }
    found = {x.concept: x for x in levels(Pair(inside(of=probe(values)), inside("old")))}
    assert found["3"].before - found["3"].now > 0.4
    assert all(abs(found[k].before - found[k].now) < 0.25 for k in "01245")


def test_the_output_is_no_hidden_layer():
    with_head = probe(
        {"fc1": outputs("fc1"), "head": outputs("fc2", units=CLASSES)}, accuracy=0.4
    )
    assert last_hidden(with_head).name == "fc1"
    seen = readout(with_head)
    assert seen.layer == "fc1"
    assert seen.gap > 0.3
    assert readout(probe(accuracy=None)) is None


def test_a_warm_start_shows_in_the_weights_the_tag_or_the_channels():
    old = inside("old", final_weights="w")
    assert Pair(inside(initial_weights="w"), old).parent is old
    assert Pair(inside(parent="old"), old).parent is old
    assert Pair(inside(of=warm(), initial_weights="other"), old).parent is old
    assert Pair(inside(of=healthy(5), initial_weights="other"), old).parent is None


def test_probes_of_other_examples_do_not_compare():
    pair = Pair(inside(of=probe(digest="another")), inside("old"))
    assert "other examples" in pair.incomparable
    with pytest.raises(ValueError, match="other examples"):
        _ = pair.parent


CHAIN = Graph(
    (
        Node("input", "input", "input", "input", 0),
        Node("fc1", "fc1", "Linear", depth=1, parameters=100, output=(8, 16)),
        Node("act", "act", "ReLU", depth=2, output=(8, 16)),
        Node("fc2", "fc2", "Linear", depth=3, parameters=50, output=(8, 10)),
    ),
    (("input", "fc1"), ("fc1", "act"), ("act", "fc2")),
)


def changed(**change) -> Graph:
    """The chain with one node changed."""
    nodes = [
        Node(**{k: getattr(n, k) for k in Node.__slots__} | change.get(n.id, {}))
        for n in CHAIN.nodes
    ]
    return Graph(tuple(nodes), CHAIN.edges)


def test_the_same_graph_does_not_differ_whatever_the_batch():
    assert not graph_diff(CHAIN, CHAIN)
    assert not graph_diff(changed(fc1={"output": (512, 16)}), CHAIN)


def test_kind_shape_and_ghosts_are_differences():
    for change in ({"kind": "Sigmoid"}, {"output": (8, 12)}, {"type": "ghost"}):
        diff = graph_diff(changed(act=change), CHAIN)
        assert [new.id for _, new in diff.changed] == ["act"]
        assert diff.first.name == "act"


def test_a_skip_that_is_gone_is_a_difference():
    skip = Graph(CHAIN.nodes, (*CHAIN.edges, ("fc1", "fc2")))
    assert graph_diff(CHAIN, skip).parted == (("fc1", "fc2"),)
    assert graph_diff(skip, CHAIN).joined == (("fc1", "fc2"),)


def test_outputs_in_the_order_of_the_classes_make_no_warm_start():
    """Every classifier's logits are alike, channel by channel, wherever it started from."""
    one, other = (
        probe({"fc1": outputs("fc1", seed=seed), "head": ONE_HOT.T * 4}) for seed in (1, 2)
    )
    assert same_units(one.layer("head"), other.layer("head")) == 1.0
    assert Pair(inside(of=one), inside("old", other)).parent is None
