"""Pairing by id, and classes and slices."""

import numpy as np
import pytest

from backslide_detector.retrain.groups import by_class, by_slice
from backslide_detector.retrain.pairing import pair


def test_of_repeated_ids_the_first_counts(make):
    old = make.predictions([True, False, True], ids=["a", "a", "b"])
    new = make.predictions([False, True, True], ids=["b", "a", "a"])
    pairing = pair(new, old)
    assert len(pairing) == 2
    assert (pairing.broken, pairing.fixed) == (1, 0)
    same = pair(old, old)
    assert len(same) == 2
    assert same.broken == same.fixed == 0


def test_nothing_in_common(make):
    assert (
        len(pair(make.predictions([True], ids=["a"]), make.predictions([True], ids=["b"]))) == 0
    )
    assert len(pair(make.predictions([]), make.predictions([]))) == 0


def test_a_broken_class_stands_out_from_the_rest(make):
    random = np.random.default_rng(0)
    classes = random.choice(list("0123456789"), size=5_000)
    before = random.random(5_000) > 0.03
    after = np.where(classes == "7", random.random(5_000) > 0.15, before)
    table = by_class(
        make.predictions(after, targets=classes), make.predictions(before, targets=classes)
    )
    assert table[0].group == "7"
    assert table[0].pvalue < 0.001
    assert [row.pvalue for row in table[1:]] == [1.0] * 9
    assert sum(row.n for row in table) == 5_000
    assert table[0].new_error - table[0].old_error == pytest.approx(
        (table[0].broken - table[0].fixed) / table[0].n
    )


def test_slices_of_all_columns_share_one_adjustment(make):
    before, after = make.flips(400, 20, fixed=0, broken=40)
    columns = {
        "night": np.array(["yes"] * 100 + ["no"] * 300, dtype=object),
        "region": np.array(["n", "s"] * 200, dtype=object),
    }
    table = by_slice(make.predictions(after, slices=columns), make.predictions(before))
    assert {(row.column, row.group) for row in table} == {
        ("night", "yes"), ("night", "no"), ("region", "n"), ("region", "s"),
    }  # fmt: skip
    yes = next(row for row in table if row.group == "yes")
    assert (yes.n, yes.broken) == (100, 40)


def test_number_targets_have_no_classes(make):
    numbers = make.predictions([True, False], targets=[0.5, 1.5])
    assert by_class(numbers, numbers) == ()


@pytest.mark.parametrize("n", [200_000])
def test_many_examples_are_paired_in_any_order(make, n):
    ids = np.array([f"{i:x}" for i in range(n)], dtype=object)
    order = np.random.default_rng(0).permutation(n)
    old = make.predictions(np.ones(n), ids=ids)
    new = make.predictions(np.ones(n), ids=ids[order])
    pairing = pair(new, old)
    assert len(pairing) == n
    assert np.array_equal(new.ids[pairing.rows[0]], old.ids[pairing.rows[1]])
