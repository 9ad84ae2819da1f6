"""Per-example outcomes, given by the user or taken from a model."""

import re

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.sdk.ship.tools import random_states
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from backslide.contract import predictions_schema
from backslide.record.predictions import evaluate, outcomes, unique


def test_classes_keep_their_type_and_error_follows():
    found = outcomes(
        [1, 2, 3], np.array([0, 1, 1]), torch.tensor([0, 1, 0]), losses=[0.1, 0.2, 0.6]
    )
    assert found.table.schema == predictions_schema(pa.int64())
    assert found.table["correct"].to_pylist() == [True, True, False]
    assert found.metrics == pytest.approx({"examples": 3, "error": 1 / 3, "loss": 0.3})
    text = outcomes("ab", ["cat", "dog"], ["cat", "cat"], slices={"site": ["x", "y"]})
    assert text.table.schema == predictions_schema(pa.string(), ("site",))
    assert text.table["slice.site"].to_pylist() == ["x", "y"]
    assert text.metrics["error"] == 0.5


def test_whole_numbered_floats_are_labels():
    found = outcomes([1, 2], [0.0, 1.0], np.array([[0.0], [0.0]]))
    assert found.table.schema.field("target").type == pa.int64()
    assert found.metrics["error"] == 0.5


def test_regression_has_no_error_and_no_correctness():
    found = outcomes([1, 2], [0.5, 1.0], [0.25, 1.5])
    assert found.table["correct"].null_count == 2
    assert found.metrics == pytest.approx({"examples": 2, "mse": (0.0625 + 0.25) / 2})


def test_mixed_types_are_compared_as_text():
    assert outcomes([1], [3], ["3"]).metrics["error"] == 0.0


@pytest.mark.parametrize("other", [[0], [0, 1, 1]])
def test_columns_of_different_lengths_are_refused(other):
    with pytest.raises(ValueError, match=r"another length|broadcast"):
        outcomes([1, 2], [0, 1], [0, 1], losses=other)


def test_repeated_ids_are_told_apart_by_occurrence():
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a#1", "a#2"]
    assert len(set(unique(["a", "a", "a#1", "a#1", "a"]))) == 5


def test_no_examples():
    assert outcomes([], [], []).metrics == {"examples": 0}


class Net(nn.Module):
    """Has what changes between training and evaluation."""

    def __init__(self, classes=3):
        super().__init__()
        self.line = nn.Linear(4, classes)
        self.norm = nn.BatchNorm1d(classes)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(self.line(x)))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    return TensorDataset(x, torch.randint(0, 3, (40,), generator=generator))


def test_evaluation_agrees_with_torch_and_leaves_no_trace(batches):
    torch.manual_seed(0)
    model = Net()
    model.drop.eval()  # a part that the user had set apart
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    states = random_states()
    found = evaluate(model, DataLoader(batches, 7, shuffle=True))
    assert random_states() == states
    assert (model.training, model.norm.training, model.drop.training) == (True, True, False)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    x, y = batches.tensors
    with torch.no_grad():
        logits = model.eval()(x)
    assert found.metrics == pytest.approx(
        {
            "examples": 40,
            "error": float((logits.argmax(1) != y).double().mean()),
            "loss": float(nn.functional.cross_entropy(logits, y)),
        },
        rel=1e-5,
    )
    scores = sorted(found.table["score"].to_pylist())
    assert scores == pytest.approx(sorted(logits.softmax(1).amax(1).tolist()), rel=1e-5)


def test_ids_follow_the_content_not_the_order(batches):
    model = Net()
    one = evaluate(model, DataLoader(batches, 7)).table
    two = evaluate(model, DataLoader(batches, 9, shuffle=True)).table
    assert one["id"].to_pylist() != two["id"].to_pylist()
    pairs = [
        dict(zip(t["id"].to_pylist(), t["target"].to_pylist(), strict=True)) for t in (one, two)
    ]
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) == 40


@pytest.mark.parametrize(
    ("answer", "loss"),
    [
        (lambda z: z, 0),
        (lambda z: z.softmax(1), 0),
        (lambda z: z.log_softmax(1), 0),
        (lambda z: {"logits": z}, 0),
        (lambda z: (z, "more"), 0),
    ],
    ids=["logits", "probabilities", "log-probabilities", "mapping", "tuple"],
)
def test_every_usual_form_of_answer_gives_the_same_loss(batches, answer, loss):
    x, y = batches.tensors

    class Answers(nn.Module):
        def forward(self, inputs):
            return answer(inputs[:, :3])

    found = evaluate(Answers(), [(x, y)])
    assert found.metrics["loss"] == pytest.approx(
        float(nn.functional.cross_entropy(x[:, :3], y)), rel=1e-4
    )


def test_one_logit_is_a_binary_answer(batches):
    x, _ = batches.tensors
    y = (x[:, 1] > 0).float()
    for shape in ((-1,), (-1, 1)):

        class One(nn.Module):
            def forward(self, inputs, shape=shape):
                return inputs[:, 0].reshape(shape)

        found = evaluate(
            One(), [(x[:20], y[:20].reshape(shape)), (x[20:], y[20:].reshape(shape))]
        )
        assert found.metrics["error"] == pytest.approx(
            float(((x[:, 0] > 0) != y).double().mean())
        )
        reference = nn.functional.binary_cross_entropy_with_logits(x[:, 0], y)
        assert found.metrics["loss"] == pytest.approx(float(reference), rel=1e-5)


@pytest.mark.parametrize("shift", [0, -9, 9], ids=["both", "all rare", "all common"])
def test_one_probability_is_a_binary_answer(batches, shift):
    x, _ = batches.tensors
    y = (x[:, 1] + shift > 0).float()

    class One(nn.Module):
        def forward(self, inputs):
            return torch.sigmoid(4 * inputs[:, 0] + shift)

    found = evaluate(One(), [(x, y)])
    said = One()(x)
    assert found.metrics["error"] == pytest.approx(float(((said > 0.5) != y).double().mean()))
    reference = nn.functional.binary_cross_entropy(said, y)
    assert found.metrics["loss"] == pytest.approx(float(reference), rel=1e-4)


def test_logits_that_all_lie_between_0_and_1_stay_logits(batches):
    x, _ = batches.tensors
    y = torch.ones(len(x))

    class Same(nn.Module):
        def forward(self, inputs):
            return 0.3 + 0.1 * inputs[:, 0].sigmoid()

    found = evaluate(Same(), [(x, y)])
    reference = nn.functional.binary_cross_entropy_with_logits(Same()(x), y)
    assert found.metrics["error"] == 0.0
    assert found.metrics["loss"] == pytest.approx(float(reference), rel=1e-5)


def test_one_value_against_floats_is_regression(batches):
    x, _ = batches.tensors

    class Value(nn.Module):
        def forward(self, inputs):
            return inputs[:, :1]

    found = evaluate(Value(), [(x, x[:, 1] + 0.5)])
    reference = nn.functional.mse_loss(x[:, 0], x[:, 1] + 0.5)
    assert found.metrics["mse"] == pytest.approx(float(reference), rel=1e-5)
    assert found.metrics["loss"] == pytest.approx(float(reference), rel=1e-5)
    assert "error" not in found.metrics


def test_several_inputs_and_mappings(batches):
    x, y = batches.tensors

    class Two(nn.Module):
        def forward(self, a, b):
            return (a + b)[:, :3]

    reference = evaluate(Two(), [((x, x), y)])
    assert evaluate(Two(), [(x, x, y)]).table == reference.table
    named = evaluate(Two(), [{"a": x, "b": x, "labels": y}])
    assert named.metrics == reference.metrics


def test_padding_does_not_change_an_id():
    class Tokens(nn.Module):
        def forward(self, input_ids, attention_mask):
            return torch.zeros(len(input_ids), 2)

    def batch(ids, mask):
        return {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.tensor([mask]),
            "labels": torch.tensor([1]),
        }

    short = evaluate(Tokens(), [batch([5, 6], [1, 1])])
    padded = evaluate(Tokens(), [batch([5, 6, 0, 0], [1, 1, 0, 0])])
    assert short.table["id"] == padded.table["id"]


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        ([], "no batch"),
        ([torch.zeros(2, 4)], "(inputs, targets)"),
        ([(torch.zeros(2, 3, 4, 4), torch.zeros(2))], "not one answer"),
        ([(torch.zeros(2, 3), torch.zeros(2))], "not class indices"),
        ([{"x": torch.zeros(2, 3)}], "no target"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_reason(loader, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        evaluate(nn.Identity(), loader)
