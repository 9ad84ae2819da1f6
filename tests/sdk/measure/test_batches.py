"""What a watch reports about batches and answers, and that a trial leaves no trace."""

import copy
import io
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.contract import BATCHES_SCHEMA
from backslide.measure.batches.batches import TRIALS
from backslide.measure.batches.facts import Batch, Inputs, describe, digests
from backslide.measure.watch import Watch

FIRST_TRIAL = TRIALS[0]
SEEDED = torch.Generator().manual_seed(5)
X = torch.randn(256, 8, generator=SEEDED)
LABELS = torch.randint(0, 4, (256,), generator=SEEDED)


def batches(
    model, loss, inputs=X, targets=LABELS, *, steps=FIRST_TRIAL + 1, rows=32, scale=1.0
):
    """Trains for some steps and returns what was seen of each batch, with its loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05 / scale)
    watch = Watch(model, [optimizer], overhead=None)
    seen: list[tuple[Batch, float]] = []
    for step in range(steps):
        at = slice(step * rows % 256, step * rows % 256 + rows)
        value = loss(model(inputs[at]), targets[at])
        optimizer.zero_grad()
        (scale * value).backward()
        optimizer.step()
        seen += [(snapshot.batch, value.item()) for snapshot in watch.step(step)]
    watch.close()
    assert watch.problems == ()
    return seen


def mlp(outputs=4, *last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs), *last)


def binary(function):
    return lambda output, target: function(output[:, 0], (target % 2).float())


def multilabel(output, target):
    return F.binary_cross_entropy_with_logits(output, F.one_hot(target, 4).float())


def squared(output, target):
    return F.mse_loss(output, F.one_hot(target, output.shape[1]).float())


WEIGHTS = torch.tensor([1.0, 5.0, 0.2, 1.0])


CLASSES = {
    "softmax": (mlp(), F.cross_entropy, LABELS),
    "log-softmax": (mlp(4, nn.LogSoftmax(1)), F.nll_loss, LABELS),
    "softmax twice": (mlp(4, nn.Softmax(1)), F.cross_entropy, LABELS),
    "summed": (mlp(), lambda o, y: F.cross_entropy(o, y, reduction="sum"), LABELS),
    "weighted": (mlp(), lambda o, y: F.cross_entropy(o, y, WEIGHTS), LABELS),
    "smoothed": (mlp(), lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1), LABELS),
    "hinge": (mlp(), F.multi_margin_loss, LABELS),
    "many sigmoids": (mlp(), multilabel, LABELS),
    "one logit": (mlp(1), binary(F.binary_cross_entropy_with_logits), LABELS % 2),
    "sigmoid": (mlp(1, nn.Sigmoid()), binary(F.binary_cross_entropy), LABELS % 2),
    "sigmoid, squared": (mlp(1, nn.Sigmoid()), binary(F.mse_loss), LABELS % 2),
    "sigmoid twice": (
        mlp(1, nn.Sigmoid()), binary(F.binary_cross_entropy_with_logits), LABELS % 2,
    ),
    "two classes": (mlp(2), F.cross_entropy, LABELS % 2),
    "two classes, squared": (mlp(2, nn.Softmax(1)), squared, LABELS % 2),
}  # fmt: skip
TAKEN_FOR_LOGITS = {
    "softmax", "softmax twice", "summed", "weighted", "one logit", "sigmoid twice",
    "two classes",
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_targets_of_classes_are_read_from_the_gradient(name, scale):
    model, loss, truth = CLASSES[name]
    seen = batches(copy.deepcopy(model), loss, targets=truth, scale=scale)
    assert {batch.answers.answers for batch, _ in seen} == {"classes"}
    found = [target for batch, _ in seen for target in batch.answers.targets]
    assert found == truth[: len(found)].tolist()


@pytest.mark.parametrize("name", CLASSES)
def test_a_cross_entropy_of_logits_is_told_from_other_losses_of_classes(name):
    model, loss, truth = CLASSES[name]
    seen = batches(copy.deepcopy(model), loss, targets=truth, steps=60)[-5:]
    shares = [batch.answers.cross_entropy for batch, _ in seen]
    assert (np.median(shares) >= 0.95) == (name in TAKEN_FOR_LOGITS)


def test_probabilities_near_0_and_1_are_not_taken_for_logits():
    certain = nn.Sequential(nn.Linear(8, 1), nn.Sigmoid())
    nn.init.constant_(certain[0].weight, 2.0)
    nn.init.zeros_(certain[0].bias)
    clear = X[X.sum(1).abs() > 2.5]
    sides = (clear.sum(1) > 0).long()
    seen = batches(certain, binary(F.binary_cross_entropy), clear, sides, rows=16)
    assert all(np.isnan(batch.answers.cross_entropy) for batch, _ in seen)


@pytest.mark.parametrize("outputs", [1, 4])
def test_answers_far_too_sure_are_read_all_the_same(outputs):
    model = mlp(outputs)
    with torch.no_grad():
        model[2].weight.mul_(300)  # most examples are right or wrong beyond rounding
    loss = F.cross_entropy if outputs > 1 else binary(F.binary_cross_entropy_with_logits)
    truth = LABELS if outputs > 1 else LABELS % 2
    seen = batches(model, loss, steps=3)
    for place, (batch, value) in enumerate(seen):
        read = batch.answers
        assert (read.answers, read.cross_entropy) == ("classes", pytest.approx(1.0, abs=0.05))
        known = np.isfinite(read.targets)
        at = slice(place * 32 % 256, place * 32 % 256 + 32)
        assert (np.array(read.targets)[known] == truth[at].numpy()[known]).all()
        assert known.mean() > 0.5
        assert read.loss >= value * 0.9


def test_mixed_targets_are_no_cross_entropy_of_one_class():
    def mixed(output, target):
        return 0.8 * F.cross_entropy(output, target) + 0.2 * F.cross_entropy(
            output, target.flip(0)
        )

    seen = batches(mlp(), mixed)
    assert np.median([batch.answers.cross_entropy for batch, _ in seen]) < 0.5


def test_targets_of_numbers_and_the_loss_that_confirms_them():
    values = X.sum(1, keepdim=True)
    for batch, loss in batches(mlp(1), F.mse_loss, targets=values):
        at = slice(batch.step * 32, batch.step * 32 + 32)
        assert batch.answers.answers == "values"
        assert batch.answers.targets == pytest.approx(values[at, 0].tolist(), abs=1e-4)
        assert batch.answers.loss == pytest.approx(loss, rel=1e-4)


def test_another_loss_of_numbers_betrays_itself():
    values = X.sum(1, keepdim=True)
    for batch, loss in batches(mlp(1), F.l1_loss, targets=values):
        assert abs(batch.answers.loss - loss) > 0.1 * loss


def test_of_several_numbers_the_range_is_known():
    for batch, loss in batches(mlp(8), F.mse_loss, targets=X):
        at = slice(batch.step * 32, batch.step * 32 + 32)
        assert batch.answers.answers == "vectors"
        assert batch.answers.targets == ()
        assert batch.answers.target_low == pytest.approx(X[at].min().item(), abs=1e-3)
        assert batch.answers.target_high == pytest.approx(X[at].max().item(), abs=1e-3)
        assert batch.answers.loss == pytest.approx(loss, rel=1e-3)
        spread = X[at].var(0).mean().sqrt().item()
        assert batch.answers.target_spread == pytest.approx(spread, rel=1e-3)


PICTURES = X.reshape(-1, 1, 2, 4)
MASKS = (PICTURES > 0.5).float()
GREY = torch.sigmoid(PICTURES)
OF_LOGITS = F.binary_cross_entropy_with_logits


def convolution(*last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1), *last)


@pytest.mark.parametrize(("last", "loss", "fits"), [
    ([], OF_LOGITS, 1.0),
    ([], lambda o, y: OF_LOGITS(o, y, pos_weight=torch.tensor(5.0)), 1.0),
    ([nn.Flatten(1, 2)], lambda o, y: OF_LOGITS(o, y[:, 0]), 1.0),
    ([nn.Sigmoid()], F.binary_cross_entropy, 0.0),
])  # fmt: skip
@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_a_mask_is_read_as_one_of_two_classes_at_each_place(last, loss, fits, scale):
    """With and without a dimension of one channel, as logits and as probabilities."""
    for batch, _ in batches(convolution(*last), loss, PICTURES, MASKS, steps=3, scale=scale):
        read = batch.answers
        assert (read.answers, read.outputs, read.cross_entropy) == ("dense", 8, fits)
        at = slice(batch.step * 32, batch.step * 32 + 32)
        assert sorted(read.targets) == sorted(MASKS[at].flatten().tolist())


def test_the_loss_of_a_mask_is_known_in_both_modes():
    batch, loss = batches(convolution(), OF_LOGITS, PICTURES, MASKS)[-1]
    assert batch.answers.loss == pytest.approx(loss, rel=1e-3)
    assert batch.trial.trial_eval_loss == pytest.approx(batch.trial.trial_loss, rel=1e-5)
    assert 0.0 < batch.trial.trial_error < 0.5
    lags = nn.Sequential(nn.BatchNorm2d(1, momentum=1e-6), *convolution())
    batch, _ = batches(lags, OF_LOGITS, 1000 * PICTURES + 5000, MASKS)[-1]
    assert batch.trial.trial_eval_loss > 2 * batch.trial.trial_loss


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, OF_LOGITS])
def test_pictures_are_read_as_numbers_and_never_as_classes(loss):
    for batch, value in batches(convolution(), loss, PICTURES, GREY, steps=3):
        assert (batch.answers.answers, batch.answers.outputs) == ("vectors", 8)
        if loss is F.mse_loss:
            assert batch.answers.loss == pytest.approx(value, rel=1e-3)


def test_a_picture_of_one_number_does_not_tell_two_classes():
    model = convolution()
    nn.init.zeros_(model[-1].weight)
    batch, _ = batches(model, F.l1_loss, PICTURES, PICTURES, steps=1)[0]
    assert batch.answers.answers == "vectors"


WORDS = torch.randint(0, 6, (256, 8), generator=SEEDED)


def by_step(output, target):
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


@pytest.mark.parametrize(("layers", "loss", "inputs"), [
    ([nn.Embedding(6, 8), nn.Linear(8, 6)], by_step, WORDS),
    ([nn.Embedding(6, 8), nn.Linear(8, 6), nn.Flatten(0, 1)], by_step, WORDS),
    ([nn.Conv1d(1, 6, 3, padding=1)], F.cross_entropy, X[:, None]),
    ([nn.Conv1d(1, 6, 3, padding=1), nn.Unflatten(2, (2, 4))],
     lambda output, target: F.cross_entropy(output, target.unflatten(1, (2, 4))), X[:, None]),
])  # fmt: skip
def test_a_class_at_each_place_is_read_whatever_dimension_counts_the_classes(
    layers, loss, inputs
):
    """Tokens in either layout, tokens of all examples in one list, and pixels."""
    classes = (WORDS + 1) % 6
    for batch, value in batches(nn.Sequential(*layers), loss, inputs, classes, steps=3):
        read = batch.answers
        assert (read.answers, read.outputs, read.cross_entropy) == ("dense", 48, 1.0)
        at = slice(batch.step * 32, batch.step * 32 + 32)
        assert read.targets == tuple(classes[at].flatten().tolist())
        assert read.loss == pytest.approx(value, rel=1e-3)
    model = nn.Sequential(*layers)
    loss_of_none = lambda output, target: loss(output, torch.where(target > 2, -100, target))  # noqa: E731  # as short as it gets
    batch, _ = batches(model, loss_of_none, inputs, classes, steps=1)[0]
    assert np.isnan(batch.answers.targets).mean() == pytest.approx(0.5, abs=0.1)


def test_places_answered_beyond_doubt_count_as_right():
    """Their gradient is rounding, and may have any sign."""
    sure = torch.zeros(8, 6)
    sure[:4, 0] = 60.0
    model = nn.Sequential(nn.Embedding.from_pretrained(sure, freeze=False))
    words = torch.arange(8).repeat(32, 1)
    classes = words % 6 * (words > 3)
    batch, _ = batches(model, by_step, words, classes, steps=1)[0]
    assert batch.answers.targets == tuple(classes.flatten().tolist())
    assert batch.answers.cross_entropy == 1.0


def test_of_large_pictures_and_vocabularies_a_few_places_are_read():
    pictures = torch.randn(256, 1, 40, 40, generator=SEEDED)
    model = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1))
    classes = torch.arange(40).repeat(256, 40, 1) % 5  # the column tells the class
    batch, _ = batches(model, F.cross_entropy, pictures, classes, steps=1)[0]
    assert (len(batch.answers.targets), batch.answers.outputs) == (256, 8000)
    assert len(set(batch.answers.targets)) == 5  # not all from one column
    words = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 30_000))
    batch, _ = batches(words, by_step, WORDS, WORDS, steps=1)[0]
    assert batch.answers.targets == tuple(WORDS[:4, 4].tolist())


def test_one_answer_for_all_examples_has_no_spread():
    model = mlp(8)
    nn.init.zeros_(model[-1].weight)
    batch, _ = batches(model, F.mse_loss, targets=X, steps=1)[0]
    assert batch.answers.output_spread == 0.0
    assert batch.answers.target_spread > 0.9


def test_long_answers_are_not_read():
    for batch, _ in batches(mlp(1100), F.mse_loss, targets=X[:, :1].repeat(1, 1100)):
        assert batch.answers.answers == ""


def test_the_loss_and_the_predictions_are_those_of_the_step():
    model = mlp()
    with torch.no_grad():
        output = model(X[:32])
    batch, loss = batches(model, F.cross_entropy, steps=1)[0]
    assert batch.answers.loss == pytest.approx(loss, rel=1e-5)
    assert list(batch.answers.predictions) == output.argmax(1).tolist()
    assert batch.answers.output_high == pytest.approx(output.max().item())


def test_inputs_are_described():
    inputs = X * torch.tensor([1, 1, 1, 1, 1, 1, 1000.0, 0]) + 3
    batch, _ = batches(mlp(), F.cross_entropy, inputs=inputs, steps=1)[0]
    first = inputs[:32]
    assert batch.inputs.input_constant_fraction == 1 / 8
    assert batch.inputs.input_rms == pytest.approx(first.square().mean().sqrt().item())
    assert batch.inputs.input_abs_max == pytest.approx(first.abs().max().item())
    assert 500 < batch.inputs.input_spread_ratio < 3000
    inputs[3, 3] = float("nan")
    batch, _ = batches(mlp(), F.cross_entropy, inputs=inputs, steps=1)[0]
    assert batch.inputs.input_nonfinite_fraction == pytest.approx(1 / (32 * 8))


def test_integers_have_no_scale():
    model = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(24, 4))
    ids = torch.randint(0, 50, (256, 3))
    for batch, _ in batches(model, F.cross_entropy, inputs=ids):
        assert np.isnan(batch.inputs.input_rms)
        assert len(set(batch.digests)) == 32


def test_an_example_is_known_again_in_any_batch():
    images = torch.rand(70, 3, 40, 40).numpy().reshape(70, -1)[:, :1024]
    one, two = digests(images), digests(images[::-1].copy())
    assert len(set(one)) == 70
    assert one == two[::-1]
    black_and_white = (images > 0.5).astype(np.float32)
    assert len(set(digests(black_and_white))) == 70


class _Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(8, 4), nn.Embedding(8, 4)

    def forward(self, user, item):
        return (self.user(user) * self.item(item)).sum(1)


def test_an_example_of_two_inputs_is_told_by_both():
    model = _Pairs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    users, items = torch.arange(64) // 8, torch.arange(64) % 8
    seen = []
    for step in range(3):
        optimizer.zero_grad()
        model(users, items).square().mean().backward()
        if step:
            optimizer.step()
        seen += [snapshot.batch for snapshot in watch.step(step)]
    seen += [snapshot.batch for snapshot in watch.close()]
    assert {len(set(batch.digests)) for batch in seen} == {64}
    assert [batch.optimizer_steps for batch in seen][-1] == 2


def test_facts_about_inputs_match_numpy():
    block = np.random.default_rng(0).normal(3.0, [1.0, 10.0, 0.1, 2.0], (50, 4)).astype("f4")
    found, values = describe(block), block.astype(float)
    spread = values.std(0)
    assert found == Inputs(
        input_mean=pytest.approx(values.mean()),
        input_std=pytest.approx(values.std()),
        input_rms=pytest.approx(np.sqrt(np.square(values).mean())),
        input_abs_max=np.abs(block).max(),
        input_spread_ratio=pytest.approx(spread.max() / spread.min()),
        input_offset=pytest.approx(np.median(np.abs(values.mean(0)) / spread)),
        input_constant_fraction=0.0,
        input_nonfinite_fraction=0.0,
    )


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(kind):
    model = mlp().to(kind)
    for batch, loss in batches(model, F.cross_entropy, inputs=X.to(kind)):
        start = batch.step * 32
        assert list(batch.answers.targets) == LABELS[start : start + 32].tolist()
        assert batch.answers.loss == pytest.approx(loss, rel=0.02)


def tried(model, inputs=X, loss=F.cross_entropy) -> Batch:
    *_, (batch, _) = batches(model, loss, inputs=inputs)
    return batch


def test_a_sound_model_depends_on_its_own_example_alone():
    trial = tried(mlp()).trial
    assert trial.mixing == 0.0
    assert trial.dependence > 0.1
    assert trial.trial_eval_loss == pytest.approx(trial.trial_loss, rel=1e-5)
    assert (trial.mixing_layer, trial.cut_layer) == ("", "")


class Wrapped(nn.Module):
    def __init__(self, change, body=None):
        super().__init__()
        self.change, self.body = change, body or mlp()

    def forward(self, x):
        return self.body(self.change(x))


def test_mixed_examples_are_found():
    trial = tried(Wrapped(lambda x: x.T.reshape_as(x))).trial
    assert trial.mixing > 0.1
    assert trial.mixing_layer == "body.0"
    assert not trial.mixing_structural


class Attends(nn.Module):
    def __init__(self, batch_first, kind=nn.MultiheadAttention):
        super().__init__()
        self.kind, self.embed, self.head = kind, nn.Linear(2, 8), nn.Linear(8, 4)
        more = () if kind is nn.LSTM else (2,)
        self.inner = kind(8, *(more or (8,)), batch_first=batch_first)

    def forward(self, x):
        x = self.embed(x.view(-1, 4, 2))
        out = self.inner(x)[0] if self.kind is nn.LSTM else self.inner(x, x, x)[0]
        return self.head(out.mean(1))


@pytest.mark.parametrize("kind", [nn.MultiheadAttention, nn.LSTM])
def test_attention_over_the_batch_is_found(kind):
    torch.manual_seed(1)
    trial = tried(Attends(False, kind)).trial
    assert trial.mixing > 1e-3
    assert trial.mixing_layer == "inner"
    assert trial.mixing_structural
    sound = tried(Attends(True, kind)).trial
    assert sound.mixing < 1e-6
    assert sound.mixing_layer == ""


@pytest.mark.parametrize("change", [torch.zeros_like, torch.randn_like, torch.ones_like])
def test_a_model_that_ignores_its_inputs_is_found(change):
    trial = tried(Wrapped(change)).trial
    assert trial.dependence < 1e-6
    assert trial.cut_layer == "body.0"


def test_tokens_that_all_become_padding_are_ignored_inputs():
    words = lambda: [nn.Embedding(6, 8, padding_idx=0), nn.Flatten(), nn.Linear(64, 4)]  # noqa: E731  # as short as it gets
    body = nn.Sequential(*words())
    inverted = tried(Wrapped(lambda x: x * (x == 0), body), WORDS).trial
    assert (inverted.dependence, inverted.cut_layer) == (0.0, "body.0")
    assert tried(nn.Sequential(*words()), WORDS).trial.cut_layer == ""


def test_dropout_that_stays_on_makes_answers_differ_in_evaluation_mode():
    always = tried(Wrapped(F.dropout)).trial
    assert always.trial_noise > 0.3
    assert always.mixing == 0.0
    assert tried(mlp(4, nn.Dropout())).trial.trial_noise == 0.0


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_validations_are_counted_by_mode(without):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, [optimizer], overhead=None)
    seen = []
    for step, mode in enumerate((True, False, True)):
        with without():
            copies = X[:8].clone(), X[8:16].clone()
            model.train(mode)(copies[0])
            model(copies[1])
            model(copies[1])
        model.train()(X).sum().backward()
        optimizer.step()
        seen += [snapshot.batch.calls for snapshot in watch.step(step)]
    seen += [snapshot.batch.calls for snapshot in watch.close()]
    assert seen == [(2, 0, 1), (0, 2, 1), (2, 0, 1)]
    assert watch.problems == ()


def test_dead_units_are_no_ignored_inputs():
    model = mlp()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    trial = tried(model).trial
    assert trial.dependence == 0.0
    assert trial.cut_layer == ""


class Listens(nn.Module):
    """Answers with the end of a recurrence over a sequence of 24 steps of 2 numbers."""

    def __init__(self, cell):
        super().__init__()
        self.body, self.head = cell, nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


def test_how_much_of_the_first_half_of_a_sequence_is_remembered():
    sequences = torch.randn(256, 24, 2, generator=SEEDED)
    forgets = nn.RNN(2, 6, batch_first=True)
    remembers = nn.RNN(2, 6, batch_first=True)
    with torch.no_grad():
        forgets.weight_hh_l0 *= 0.1
        remembers.weight_hh_l0[:] = torch.eye(6)
    seen = [tried(Listens(cell), sequences).trial for cell in (forgets, remembers)]
    assert seen[0].memory < 1e-4 * seen[0].dependence
    assert seen[1].memory > 1e-2 * seen[1].dependence
    assert np.isnan(tried(mlp()).trial.memory)


def test_running_statistics_that_stay_behind_show_in_evaluation_mode():
    def norm(momentum):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16, momentum=momentum), nn.ReLU(), nn.Linear(16, 4)
        )

    stale = tried(norm(1e-6), inputs=X * 30).trial
    fresh = tried(norm(0.5), inputs=X * 30).trial
    assert stale.trial_eval_loss > 2 * stale.trial_loss
    assert fresh.trial_eval_loss < 1.5 * fresh.trial_loss


class Memory(nn.Module):
    """A model that takes notes in every way there is."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 4)
        self.norm, self.drop = nn.BatchNorm1d(16), nn.Dropout(0.3)
        self.calls, self.seen, self.cache = 0, [], {}
        self.register_buffer("average", torch.zeros(16))

    def forward(self, x):
        self.calls += 1
        self.seen.append(len(x))
        self.cache[self.calls] = x
        self.last = x
        h = self.norm(self.body(x))
        self.average.mul_(0.9).add_(0.1 * h.detach().mean(0))
        noise = torch.randn(1) + random.random() + np.random.random()  # noqa: NPY002  # as users do
        return self.head(self.drop(torch.relu(h))) + 0.01 * noise


def test_a_trial_leaves_no_trace():
    def train(watching):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002  # as users do
        model = Memory()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        watch = Watch(model, [optimizer], overhead=None) if watching else None
        made = 0
        for step in range(20):
            x, y = torch.randn(16, 8), torch.randint(0, 4, (16,))
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            for snapshot in watch.step(step) if watch else ():
                made += np.isfinite(snapshot.batch.trial.trial_eval_loss)
        state = [*model.state_dict().values(), *(each.grad for each in model.parameters())]
        notes = model.calls, model.seen, list(model.cache), len(model.last)
        modes = [module.training for module in model.modules()]
        chance = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002  # as users do
        return state, (notes, modes, chance[1:]), chance[0], made

    bare, watched = train(False), train(True)
    assert watched[3] == 2
    assert all(torch.equal(a, b) for a, b in zip(bare[0], watched[0], strict=True))
    assert bare[1] == watched[1]
    assert torch.equal(bare[2], watched[2])


def test_a_backward_pass_still_to_come_survives_a_trial():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    one = torch.optim.SGD(model[0].parameters(), lr=0.0)
    two = torch.optim.SGD(model[2].parameters(), lr=0.0)
    watch = Watch(model, [one, two], overhead=None)
    for step in range(FIRST_TRIAL + 1):
        output = model(X[:32])
        F.cross_entropy(output, LABELS[:32]).backward(retain_graph=True)
        one.step()
        output.square().mean().backward()
        two.step()
        (snapshot,) = watch.step(step)
    assert np.isfinite(snapshot.batch.trial.mixing)
    assert watch.problems == ()


def test_somebody_elses_hooks_are_not_called_more_often():
    model, calls = mlp(), []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    batch = tried(model)
    assert np.isnan(batch.trial.mixing)
    assert len(calls) == FIRST_TRIAL + 1


def test_a_model_that_refuses_evaluation_is_left_in_peace():
    class Refuses(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x):
            if not self.training:
                raise RuntimeError("not finished")
            return self.body(x)

    model = Refuses()
    batch = tried(model)
    assert np.isnan(batch.trial.mixing)
    assert all(module.training for module in model.modules())


def test_where_the_time_comes_first_nothing_is_said_about_mixing():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.LSTM(8, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.inner(x)[0])

    def loss(output, target):
        return F.cross_entropy(output.flatten(0, 1), target.flatten())

    inputs, targets = X.view(256, 1, 8).repeat(1, 5, 1), LABELS[:, None].repeat(1, 5)
    *_, (batch, _) = batches(TimeFirst(), loss, inputs=inputs, targets=targets)
    assert np.isnan(batch.trial.mixing)


def test_a_row_has_the_columns_of_the_contract():
    assert set(tried(mlp()).columns()) == set(BATCHES_SCHEMA.names)


def test_a_watched_model_can_be_saved_and_its_outputs_too():
    model = mlp()
    watch = Watch(model, [torch.optim.SGD(model.parameters(), lr=0.1)], overhead=None)
    output = model(X[:8])
    torch.save(output.detach(), io.BytesIO())
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert torch.equal(loaded(X[:8]), output)
    watch.close()


def test_learning_rates_of_all_groups_are_logged():
    model = mlp()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.2)
    other = torch.optim.SGD([{"params": [nn.Parameter(X[0])], "name": "extra"}], lr=0.3)
    watch = Watch(model, [optimizer, other], overhead=None)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    F.cross_entropy(model(X), LABELS).backward()
    optimizer.step()
    schedule.step()
    other.step()
    (snapshot,) = watch.step(0)
    rates = {key: value for key, value in snapshot.scalars.items() if key.startswith("lr/")}
    assert rates == {"lr/0": 0.1, "lr/1": 0.2, "lr/extra": 0.3}


def test_a_loss_that_weighs_examples_against_each_other_leaves_no_gradient_over_the_batch():
    def over_the_batch(output, target):
        return F.cross_entropy(output.softmax(0), target)

    for batch, _ in batches(mlp(), over_the_batch):
        assert batch.answers.gradient_balance < 1e-5
    for batch, _ in batches(mlp(), F.cross_entropy):
        assert batch.answers.gradient_balance > 1e-3


def cleared_before(optimizer, _step, backward):
    optimizer.zero_grad()
    backward()
    optimizer.step()


def cleared_after(optimizer, _step, backward):
    backward()
    optimizer.step()
    optimizer.zero_grad()


def cleared_in_place(optimizer, _step, backward):
    optimizer.zero_grad(set_to_none=False)
    backward()
    optimizer.step()


def gathered_over_four(optimizer, step, backward):
    if step % 4 == 0:
        optimizer.zero_grad()
    backward()
    if step % 4 == 3:
        optimizer.step()


def faded(optimizer, step, backward):
    """Half of the gradient is kept on purpose."""
    for parameter in optimizer.param_groups[0]["params"]:
        if step:
            parameter.grad.mul_(0.5)
    backward()
    optimizer.step()


def never_cleared(optimizer, _step, backward):
    backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        (cleared_before, {0.0}),
        (cleared_after, {0.0}),
        (cleared_in_place, {0.0}),
        (gathered_over_four, {0.0}),
        (faded, {0.0}),
        (never_cleared, {1.0}),
    ],
)
def test_gradients_that_are_not_cleared_are_told_from_all_that_are(loop, expected):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    watch = Watch(model, [optimizer], overhead=None)
    seen = []
    for step in range(16):
        loop(optimizer, step, lambda: F.cross_entropy(model(X), LABELS).backward())
        seen += [snapshot.batch for snapshot in watch.step(step)]
    seen += [snapshot.batch for snapshot in watch.close()]
    known = [batch.uncleared for batch in seen if batch.uncleared == batch.uncleared]
    assert len(known) >= 3
    assert set(known) == expected
    assert watch.problems == ()
