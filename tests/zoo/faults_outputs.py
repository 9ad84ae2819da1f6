"""Faults between the last layer and the loss."""

import torch
from tests.zoo.networks import mlp
from tests.zoo.plants import fault
from tests.zoo.training import Setup
from tests.zoo.worlds import adam, sgd
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

# Numbers that are none.


@fault("nan-or-inf", on="mlp-digits mlp-diabetes lstm-waves conv1d-signals mlp-friedman")
def missing_value(s: Setup):
    s.data.x.view(len(s.data.x), -1)[7, 1] = float("nan")


@fault("nan-or-inf", on="mlp-digits residual-clusters gelu-wine gru-pulses")
def log_of_a_negative_number(s: Setup):
    least = 0.9 / s.outputs

    def bounded(out, y):
        return -torch.log(out.softmax(1).gather(1, y[:, None]) - least).mean()

    s.loss = bounded


@fault("nan-or-inf", "learning-rate-too-high", on="mlp-diabetes mlp-friedman")
def root_of_zero(s: Setup):
    plain, weights = s.loss, list(s.model.parameters())
    start = [w.detach().clone() for w in weights]

    def near_the_start(out, y):
        moved = sum((w - w0).square().sum() for w, w0 in zip(weights, start, strict=True))
        return plain(out, y) + 1e-3 * moved.sqrt()

    s.loss = near_the_start


@fault("nan-or-inf", on="mlp-cancer transformer-digits tanh-moons reader-tokens")
def scale_that_overflows(s: Setup):
    plain = s.loss

    def overflow(out, y):
        scale = torch.exp(100 * out.abs().max())
        return plain(out, y) * scale / scale

    s.loss = overflow


@fault("nan-or-inf", "input-scale", on="mlp-cancer gelu-wine")
def divided_by_a_spread_of_zero(s: Setup):
    s.data.change(lambda x, y: (torch.cat([x[:, 1:], torch.ones_like(x[:, :1])], 1), y))

    def standardised(x, y):
        return (x - x.mean(0)) / x.std(0), y

    s.feed = standardised


# A loss that does not fit the outputs.


@fault(
    "output-loss-mismatch", on="mlp-digits cnn-digits lstm-waves gelu-wine conv1d-signals",
    silent=True,
)  # fmt: skip
def softmax_twice(s: Setup):
    s.model = nn.Sequential(s.model, nn.Softmax(-1))
    s.epochs *= 2


@fault("output-loss-mismatch", on="transformer-digits reader-tokens gru-pulses", silent=True)
def sigmoid_before_cross_entropy(s: Setup):
    s.model = nn.Sequential(s.model, nn.Sigmoid())
    s.epochs *= 2


@fault("output-loss-mismatch", on="tanh-rings mlp-cancer tanh-moons", silent=True)
def sigmoid_twice(s: Setup):
    s.model = nn.Sequential(s.model, nn.Sigmoid())
    s.epochs *= 2


@fault("output-loss-mismatch", on="mlp-digits residual-clusters conv1d-signals", silent=True)
def tanh_before_cross_entropy(s: Setup):
    s.model = nn.Sequential(s.model, nn.Tanh())
    s.epochs *= 2


@fault("output-loss-mismatch", on="cnn-digits lstm-waves resnet-gratings", silent=True)
def likelihood_without_a_logarithm(s: Setup):
    s.model, s.loss = nn.Sequential(s.model, nn.Softmax(-1)), F.nll_loss
    s.epochs *= 2


@fault(
    "output-loss-mismatch", "exploding-gradient", "learning-rate-too-high",
    "loss-not-decreasing", on="mlp-digits lstm-waves gelu-wine gru-pulses", silent=True,
)  # fmt: skip
def likelihood_of_raw_scores(s: Setup):
    s.loss = F.nll_loss


@fault("output-loss-mismatch", on="mlp-cancer tanh-rings tanh-moons", silent=True)
def binary_targets_of_minus_one_and_one(s: Setup):
    s.data.change(lambda x, y: (x, 2 * y - 1))


@fault(
    "output-loss-mismatch", "dead-units", "output-range-mismatch", "class-collapse",
    on="residual-clusters mlp-digits gelu-wine conv1d-signals",
)  # fmt: skip
def relu_on_the_logits(s: Setup):
    head = [module for module in s.model.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.constant_(head.bias, -2.0)
    s.model = nn.Sequential(s.model, nn.ReLU())
    s.optimizer = sgd(0.05)


@fault(
    "constant-output", "output-loss-mismatch", "output-range-mismatch",
    on="mlp-cancer tanh-moons",
)  # fmt: skip
def softmax_of_one_unit(s: Setup):
    s.model = nn.Sequential(s.model, nn.Softmax(-1))
    s.loss = F.binary_cross_entropy


@fault(
    "constant-output", "output-loss-mismatch", "output-range-mismatch",
    on="mlp-diabetes mlp-friedman",
)  # fmt: skip
def softmax_of_one_value(s: Setup):
    s.model = nn.Sequential(s.model, nn.Softmax(-1))


@fault("constant-output", "output-loss-mismatch", "class-collapse", on="mlp-cancer tanh-moons")
def cross_entropy_of_one_output(s: Setup):
    s.loss = F.cross_entropy


@fault(
    "constant-output", "misaligned-batch", "output-loss-mismatch", "underfitting",
    on="mlp-diabetes mlp-friedman",
)  # fmt: skip
def targets_broadcast(s: Setup):
    def broadcast(out, y):
        return (out - y.flatten()).square().mean()

    s.loss = broadcast


@fault(
    "output-range-mismatch", "saturated-activation", "constant-output",
    on="mlp-hills mlp-diabetes mlp-friedman",
)  # fmt: skip
def sigmoid_below_the_targets(s: Setup):
    s.model = nn.Sequential(*s.model, nn.Sigmoid())
    s.optimizer = adam(3e-3)


@fault("output-range-mismatch", "dead-units", "constant-output", on="mlp-diabetes mlp-friedman")
def relu_before_negative_targets(s: Setup):
    s.data.change(lambda x, y: (x, y - y.max()))
    s.model = nn.Sequential(*s.model, nn.ReLU())


@fault("output-range-mismatch", "saturated-activation", on="autoencoder-digits")
def sigmoid_on_raw_pixels(s: Setup):
    s.data.change(lambda x, y: (x * 16, y * 16))
    s.model = nn.Sequential(*s.model, nn.Sigmoid())


@fault("output-range-mismatch", "saturated-activation", on="autoencoder-gratings mlp-friedman")
def tanh_on_large_targets(s: Setup):
    s.data.change(lambda x, y: (x, y * 10))
    s.model = nn.Sequential(*s.model, nn.Tanh())


@fault(
    "class-collapse", "constant-output", "class-imbalance", "output-loss-mismatch",
    on="mlp-digits lstm-waves resnet-gratings gru-pulses",
)  # fmt: skip
def one_class_outweighs_all(s: Setup):
    weight = torch.ones(s.outputs)
    weight[1] = 1_000.0
    s.loss = nn.CrossEntropyLoss(weight)


# Too small for the task, or in another mode.


@fault("underfitting", "loss-not-decreasing", "constant-output", on="mlp-circles")
def straight_line(s: Setup):
    s.model = nn.Sequential(nn.Linear(s.inputs, s.outputs))
    s.optimizer = adam(1e-2)


@fault("underfitting", "loss-not-decreasing", on="residual-clusters gelu-wine conv1d-signals")
def straight_line_through_a_checkerboard(s: Setup):
    def checkerboard(x, y):
        x = torch.randn(len(x), 6)
        return x, ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()

    s.data.change(checkerboard)
    s.model = nn.Sequential(nn.Linear(6, 2))
    s.optimizer = adam(1e-2)


@fault("underfitting", "dead-units", on="mlp-digits cnn-digits resnet-gratings")
def one_unit_in_between(s: Setup):
    s.model = mlp(s.inputs, 32, 1, 32, s.outputs, act=nn.Tanh)
    s.optimizer = adam(3e-3)
    s.epochs *= 2


@fault("underfitting", "over-regularized", on="normed-clusters mlp-digits gelu-wine")
def dropout_of_nearly_all(s: Setup):
    s.model = nn.Sequential(
        nn.Linear(s.inputs, 32), nn.ReLU(), nn.Dropout(0.97), nn.Linear(32, 32), nn.ReLU(),
        nn.Dropout(0.97), nn.Linear(32, s.outputs),
    )  # fmt: skip


@fault(
    "train-eval-mismatch",
    "overfitting",
    "label-mismatch",
    on="normed-clusters cnn-digits resnet-gratings",
)
def batch_norm_that_never_learns(s: Setup):
    for module in s.model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1e-5
    if isinstance(s.model, nn.Sequential):
        s.data.change(lambda x, y: (4 * x + 3, y))


@fault(
    "over-regularized",
    "underfitting",
    on="normed-clusters gru-waves cnn-digits lstm-waves resnet-gratings",
)
def dropout_of_nearly_all_inputs(s: Setup):
    s.model = nn.Sequential(nn.Dropout(0.95), s.model)


class Scaled(nn.Module):
    """Prepares its input in training alone."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x if self.training else 12 * x - 20)


@fault(
    "train-eval-mismatch", "input-scale", "overfitting", "label-mismatch",
    on="mlp-digits cnn-digits residual-clusters conv1d-signals resnet-gratings",
)  # fmt: skip
def prepared_in_training_alone(s: Setup):
    s.model = Scaled(s.model)
