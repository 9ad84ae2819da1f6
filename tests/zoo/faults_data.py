"""Faults in what a network is fed."""

import torch
from tests.zoo.data import Data, cancer, wine
from tests.zoo.networks import Reader, Transformer, mlp
from tests.zoo.plants import fault
from tests.zoo.training import Setup
from tests.zoo.worlds import adam, sgd
from torch import Tensor, nn


def wrong_in(share: float, y: Tensor, classes: int) -> Tensor:
    """Labels of which a share was drawn anew."""
    drawn = torch.randint(0, classes, y.shape)
    return torch.where(torch.rand(len(y)) < share, drawn, y)


# Labels.


@fault(
    "label-noise", "label-mismatch", "overfitting",
    on="mlp-digits residual-clusters gelu-wine resnet-gratings",
)  # fmt: skip
def labels_at_random(s: Setup):
    s.data.y = s.data.y[torch.randperm(len(s.data.y))]
    s.model = mlp(s.inputs, 128, 128, s.outputs)
    s.optimizer = adam(2e-3)
    s.epochs = max(s.epochs, 30)


@fault(
    "label-noise", "overfitting", "label-mismatch",
    on="mlp-digits lstm-waves conv1d-signals gelu-wine",
    silent=True,
)  # fmt: skip
def four_in_ten_labels_wrong(s: Setup):
    s.data.y = wrong_in(0.45, s.data.y, s.outputs)
    s.epochs = 3 * s.epochs // 2


@fault(
    "label-mismatch", "label-noise", "overfitting", "train-eval-mismatch",
    on="mlp-digits lstm-waves cnn-digits gelu-wine conv1d-signals gru-pulses",
)  # fmt: skip
def classes_renumbered_in_validation(s: Setup):
    d, k = s.data, s.outputs
    d.y_val, d.y_test = (d.y_val + 1) % k, (d.y_test + 1) % k


@fault(
    "label-mismatch", "label-noise", "overfitting", "loss-not-decreasing", "misaligned-batch",
    on="tanh-rings mlp-hills mlp-cancer mlp-diabetes tanh-moons mlp-friedman",
)  # fmt: skip
def targets_joined_one_row_off(s: Setup):
    s.data.y = s.data.y.roll(1, 0)
    s.epochs *= 2


@fault(
    "class-imbalance", "class-collapse", "constant-output",
    on="mlp-digits lstm-waves resnet-gratings gru-pulses",
)  # fmt: skip
def one_class_in_training(s: Setup):
    y = s.data.y
    most, rest = torch.nonzero(y == 0).flatten(), torch.nonzero(y != 0).flatten()
    s.data.pick(torch.cat([most.repeat(20)[:600], rest[:24]]))
    s.optimizer = sgd(0.01)


@fault("class-imbalance", "class-collapse", "constant-output", on="mlp-cancer tanh-moons")
def five_of_one_class(s: Setup):
    most, rest = (torch.nonzero(s.data.y[:, 0] == side).flatten() for side in (1, 0))
    s.data.pick(torch.cat([most, rest[:5]]))
    s.optimizer = sgd(0.01)


# Inputs.


@fault(
    "input-scale", "poor-initialization", "learning-rate-too-high", "exploding-gradient",
    on="mlp-cancer",
)  # fmt: skip
def raw_cancer(s: Setup):
    s.data = cancer(int(torch.randint(100, ())), raw=True)
    s.optimizer = sgd(0.01, 0.9)


@fault(
    "input-scale", "poor-initialization", "learning-rate-too-high", "exploding-gradient",
    "dead-units", on="gelu-wine",
)  # fmt: skip
def raw_wine(s: Setup):
    s.data = wine(int(torch.randint(100, ())), raw=True)
    s.model = mlp(13, 48, 48, 3)
    s.optimizer = sgd(0.01, 0.9)


@fault(
    "input-scale", "poor-initialization", "learning-rate-too-high", "exploding-gradient",
    "dead-units", "nan-or-inf", "saturated-activation",
    on="mlp-diabetes residual-clusters mlp-friedman conv1d-signals",
)  # fmt: skip
def one_feature_in_other_units(s: Setup):
    def change(x, y):
        x = x.clone()
        x[:, 0] = 1e4 * x[:, 0] + 1e5
        return x, y

    s.data.change(change)
    s.optimizer = sgd(0.01)


@fault(
    "input-scale", "poor-initialization", "learning-rate-too-high", "exploding-gradient",
    "dead-units", "nan-or-inf", "saturated-activation",
    on="mlp-cancer residual-clusters mlp-friedman gelu-wine",
)  # fmt: skip
def gaps_filled_with_a_large_number(s: Setup):
    def fill(x, y):
        return torch.where(torch.rand_like(x) < 0.1, torch.full_like(x, -9_999.0), x), y

    s.data.change(fill)
    s.optimizer = sgd(0.01, 0.9)


@fault("input-scale", "learning-rate-too-low", "vanishing-gradient", on="mlp-cancer gru-pulses")
def inputs_a_millionth(s: Setup):
    s.data.change(lambda x, y: (x * 1e-6, y))
    s.optimizer = sgd(0.1)


@fault(
    "input-independent", "constant-output", "loss-not-decreasing",
    on="mlp-hills mlp-digits lstm-waves mlp-diabetes resnet-gratings mlp-friedman",
)  # fmt: skip
def input_times_zero(s: Setup):
    s.data.change(lambda x, y: (x * 0, y))


@fault(
    "input-independent", "repeated-batch", "constant-output", "misaligned-batch",
    on="cnn-digits mlp-cancer gru-pulses conv1d-signals",
)  # fmt: skip
def same_input_for_every_label(s: Setup):
    s.feed = lambda x, y: (x[:1].expand_as(x), y)


@fault(
    "input-independent", "label-mismatch", "label-noise", "overfitting", "misaligned-batch",
    on="mlp-digits residual-clusters gelu-wine conv1d-signals",
)  # fmt: skip
def noise_in_place_of_inputs(s: Setup):
    s.data.change(lambda x, y: (torch.randn_like(x), y))


# Batches.


@fault(
    "misaligned-batch", "input-independent", "loss-not-decreasing",
    on="mlp-digits mlp-cancer conv1d-signals gelu-wine",
)  # fmt: skip
def transposed_and_reshaped(s: Setup):
    s.model = nn.Sequential(Mixed(), s.model)


class Mixed(nn.Module):
    """Puts each example's numbers into other examples."""

    def forward(self, x: Tensor) -> Tensor:
        return x.T.reshape(x.shape)


@fault(
    "misaligned-batch", "label-mismatch", "label-noise", "loss-not-decreasing",
    "underfitting", "input-independent",
    on="gru-waves mlp-hills normed-clusters residual-clusters cnn-digits lstm-waves "
    "resnet-gratings mlp-friedman reader-tokens",
)  # fmt: skip
def labels_shifted_within_the_batch(s: Setup):
    s.feed = lambda x, y: (x, y.roll(1, 0))


@fault("misaligned-batch", on="transformer-digits", silent=True)
def attention_over_the_batch(s: Setup):
    s.model = Transformer(8, 8, 10, batch_first=False)


@fault("misaligned-batch", on="reader-tokens", silent=True)
def attention_over_the_batch_of_tokens(s: Setup):
    s.model = Reader(40, 12, 4, batch_first=False)


@fault("misaligned-batch", on="lstm-waves gru-pulses", silent=True)
def recurrence_over_the_batch(s: Setup):
    s.model.body.batch_first = False


@fault("misaligned-batch", "output-loss-mismatch", on="mlp-digits conv1d-signals", silent=True)
def softmax_over_the_batch(s: Setup):
    plain = s.loss
    s.loss = lambda out, y: plain(out.softmax(0), y)


@fault(
    "repeated-batch", "overfitting", "too-little-data",
    on="mlp-hills gru-waves mlp-digits lstm-waves mlp-diabetes resnet-gratings gru-pulses",
)  # fmt: skip
def one_batch_again_and_again(s: Setup):
    def first(data: Data) -> Tensor:
        return torch.arange(s.batch).repeat(len(data.x) // s.batch)

    s.order = first


def in_order_of_class(data: Data) -> Tensor:
    return data.y.flatten().argsort(stable=True)


@fault(
    "ordered-batches", "oscillating-loss",
    on="gru-waves normed-clusters mlp-digits residual-clusters lstm-waves conv1d-signals "
    "gru-pulses resnet-gratings",
)  # fmt: skip
def one_class_after_the_other(s: Setup):
    s.order = in_order_of_class


@fault(
    "ordered-batches", "oscillating-loss", on="mlp-hills mlp-diabetes mlp-friedman", silent=True
)
def smallest_target_first(s: Setup):
    s.order = in_order_of_class


# Too few.


@fault(
    "overfitting", "too-little-data", "label-noise",
    on="mlp-digits residual-clusters resnet-gratings",
)  # fmt: skip
def sixty_examples_some_wrong(s: Setup):
    s.data.pick(torch.arange(60))
    s.data.y = wrong_in(0.25, s.data.y, s.outputs)
    s.model = mlp(s.inputs, 256, 256, s.outputs)
    s.optimizer = adam()
    s.epochs = 150


@fault("overfitting", "too-little-data", on="mlp-digits lstm-waves conv1d-signals")
def forty_examples(s: Setup):
    s.data.pick(torch.arange(40))
    s.data.change(lambda x, y: (x + 0.15 * torch.randn_like(x), y))
    s.batch, s.epochs = 8, 80


@fault(
    "too-little-data", "overfitting", "repeated-batch",
    on="normed-clusters gru-waves residual-clusters mlp-digits gelu-wine resnet-gratings",
)  # fmt: skip
def thirty_examples_copied(s: Setup):
    s.data.pick(torch.arange(30).repeat(20))
    s.optimizer = adam(2e-3)


@fault("overfitting", "too-little-data", on="mlp-hills mlp-diabetes mlp-friedman")
def forty_examples_and_a_wide_net(s: Setup):
    s.data.pick(torch.arange(40))
    s.model = mlp(s.inputs, 256, 256, 1)
    s.optimizer = adam(3e-3)
    s.batch, s.epochs = 8, 80
