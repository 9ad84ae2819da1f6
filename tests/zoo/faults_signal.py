"""Faults in where a network starts, and in what passes through it."""

import torch
from tests.zoo.networks import Functional, Recurrent, mlp, reset
from tests.zoo.plants import fault
from tests.zoo.training import Setup
from tests.zoo.worlds import adam, sgd
from torch import nn

# Where it starts.


@fault(
    "symmetric-weights", "poor-initialization", "dead-units", "vanishing-gradient",
    on="mlp-digits mlp-cancer lstm-waves gelu-wine conv1d-signals",
)  # fmt: skip
def all_zero(s: Setup):
    for parameter in s.model.parameters():
        nn.init.zeros_(parameter)


@fault(
    "symmetric-weights", "poor-initialization",
    on="gru-waves tanh-rings mlp-hills mlp-digits residual-clusters tanh-moons gru-pulses",
)  # fmt: skip
def all_equal(s: Setup):
    for parameter in s.model.parameters():
        nn.init.constant_(parameter, 0.1)


@fault(
    "poor-initialization", "exploding-gradient", "nan-or-inf", "learning-rate-too-high",
    on="mlp-digits mlp-diabetes gelu-wine mlp-friedman",
)  # fmt: skip
def ten_layers_far_too_wide(s: Setup):
    s.model = reset(mlp(s.inputs, *[64] * 10, s.outputs), 1.0)
    s.optimizer = sgd(0.01)


@fault(
    "poor-initialization", "exploding-gradient", "saturated-activation",
    "learning-rate-too-high", "nan-or-inf",
    on="gru-waves normed-clusters cnn-digits residual-clusters conv1d-signals",
)  # fmt: skip
def weights_of_twenty(s: Setup):
    reset(s.model, 20.0)
    s.optimizer = sgd(1e-3)


@fault(
    "saturated-activation", "poor-initialization", "input-scale", "vanishing-gradient",
    on="tanh-rings mlp-digits mlp-cancer gelu-wine tanh-moons",
)  # fmt: skip
def saturated_from_the_start(s: Setup):
    s.data.change(lambda x, y: (x * 16, y))
    s.model = reset(mlp(s.inputs, 64, 64, s.outputs, act=nn.Tanh), 1.0)
    s.optimizer = sgd(0.01)


@fault(
    "saturated-activation", "poor-initialization", "vanishing-gradient",
    on="mlp-hills tanh-rings mlp-digits residual-clusters gelu-wine conv1d-signals",
)  # fmt: skip
def sigmoids_far_too_wide(s: Setup):
    s.model = reset(mlp(s.inputs, 64, 64, 64, s.outputs, act=nn.Sigmoid), 5.0)
    s.optimizer = sgd(0.01)


# What passes through it.


@fault(
    "vanishing-gradient",
    on="mlp-digits residual-clusters mlp-cancer gelu-wine conv1d-signals",
)
def eight_layers_of_sigmoid(s: Setup):
    s.model = mlp(s.inputs, *[64] * 8, s.outputs, act=nn.Sigmoid)
    s.optimizer = sgd(0.1)


@fault("vanishing-gradient", "poor-initialization", on="mlp-digits lstm-waves conv1d-signals")
def thirty_layers_of_sigmoid(s: Setup):
    s.data.change(lambda x, y: (x.flatten(1), y))
    s.model = mlp(s.inputs, *[32] * 30, s.outputs, act=nn.Sigmoid)
    s.optimizer = adam()


@fault("vanishing-gradient", on="mlp-digits residual-clusters gelu-wine")
def twenty_layers_of_relu(s: Setup):
    s.model = mlp(s.inputs, *[64] * 20, s.outputs)
    s.optimizer = sgd(0.01)


@fault(
    "vanishing-gradient", "poor-initialization", "symmetric-weights",
    on="mlp-digits residual-clusters gelu-wine conv1d-signals",
)  # fmt: skip
def tiny_weights(s: Setup):
    s.model = reset(mlp(s.inputs, *[64] * 8, s.outputs, act=nn.Tanh), 0.005)
    s.optimizer = sgd(0.05)


@fault(
    "exploding-gradient", "poor-initialization", "learning-rate-too-high", "nan-or-inf",
    on="lstm-waves gru-pulses",
)  # fmt: skip
def recurrence_that_explodes(s: Setup):
    size = s.data.x.shape[-1]
    s.model.body = nn.RNN(size, 24, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        s.model.body.weight_hh_l0.copy_(3 * torch.eye(24))
    s.optimizer = sgd(0.05)


@fault("dead-units", on="mlp-hills mlp-digits mlp-cancer autoencoder-digits mlp-diabetes")
def units_buried(s: Setup):
    for layer in [m for m in s.model if isinstance(m, nn.Linear)][:-1]:
        nn.init.constant_(layer.bias, -10.0)
    s.optimizer = sgd(0.01)


@fault("dead-units", on="mlp-digits mlp-cancer gelu-wine mlp-friedman")
def units_buried_behind_functions(s: Setup):
    s.model = Functional(s.inputs, 48, 48, s.outputs)
    for layer in s.model.layers[:-1]:
        nn.init.constant_(layer.bias, -10.0)
    s.optimizer = sgd(0.01)


@fault("dead-units", on="cnn-digits conv1d-signals")
def convolution_buried(s: Setup):
    convolutions = [m for m in s.model if isinstance(m, nn.Conv1d | nn.Conv2d)]
    norms = [m for m in s.model if isinstance(m, nn.BatchNorm2d)]
    nn.init.constant_((norms or convolutions)[-1].bias, -20.0)


@fault("dead-units", on="mlp-diabetes gelu-wine mlp-friedman")
def inputs_pushed_below_zero(s: Setup):
    s.model = nn.Sequential(*mlp(s.inputs, 48, 48, s.outputs))
    with torch.no_grad():
        s.model[0].weight.copy_(-s.model[0].weight.abs())
    s.data.change(lambda x, y: (x - x.min() + 5.0, y))
    s.optimizer = sgd(0.01)


@fault(
    "vanishing-gradient", "constant-output", "loss-not-decreasing",
    on="autoencoder-digits autoencoder-gratings",
)  # fmt: skip
def nine_layers_of_sigmoid_between(s: Setup):
    s.model = mlp(s.inputs, *[40] * 8, s.outputs, act=nn.Sigmoid)
    s.optimizer = sgd(0.3)


@fault(
    "vanishing-gradient", "underfitting", "undertrained", "loss-not-decreasing",
    on="lstm-waves gru-pulses",
)  # fmt: skip
def told_at_the_first_of_fifty_steps(s: Setup):
    def told(x, y):
        x = 0.3 * torch.randn(len(y), 50, 6)
        x[torch.arange(len(y)), 0, y] += 3.0
        return x, y

    classes = s.outputs
    s.data.change(told)
    s.model = Recurrent(nn.RNN(6, 24, batch_first=True), classes)
    s.optimizer = sgd(0.05)


@fault("symmetric-weights", "poor-initialization", on="mlp-digits reader-tokens")
def table_and_head_of_zero(s: Setup):
    def words(x, y):
        return 4 * y[:, None] + torch.randint(0, 4, (len(y), 8)), y

    classes = s.outputs
    s.data.change(words)
    table, head = nn.EmbeddingBag(4 * classes, 16), nn.Linear(16, classes)
    for layer in (table, head):
        nn.init.zeros_(layer.weight)
    s.model = nn.Sequential(table, head)
