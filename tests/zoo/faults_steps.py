"""Faults in how a network is moved."""

from copy import deepcopy

from tests.zoo.plants import fault
from tests.zoo.training import Setup, textbook
from tests.zoo.worlds import adam, adamw, sgd
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, StepLR

# Learning rate.


@fault(
    "learning-rate-too-high", "exploding-gradient", "nan-or-inf",
    on="mlp-digits cnn-digits residual-clusters mlp-diabetes gelu-wine conv1d-signals "
    "mlp-friedman",
)  # fmt: skip
def rate_of_ten(s: Setup):
    s.optimizer = sgd(10.0)


@fault(
    "learning-rate-too-high",
    on="gru-waves tanh-rings transformer-waves mlp-hills mlp-digits lstm-waves mlp-cancer "
    "reader-tokens gru-pulses",
)
def adam_rate_of_one(s: Setup):
    s.optimizer = adam(1.0)


@fault("learning-rate-too-high", on="transformer-waves transformer-digits reader-tokens")
def transformer_rate_of_a_half(s: Setup):
    s.optimizer = adamw(0.5)


@fault(
    "learning-rate-too-high", "exploding-gradient", "nan-or-inf",
    on="residual-clusters mlp-diabetes resnet-gratings conv1d-signals",
)  # fmt: skip
def rate_and_momentum(s: Setup):
    s.optimizer = sgd(2.0, 0.99)


@fault("learning-rate-too-high", "dead-units", on="mlp-digits cnn-digits conv1d-signals")
def spike_of_the_rate(s: Setup):
    s.optimizer = sgd(0.05)
    s.schedule = lambda o: LambdaLR(o, lambda i: 1_000.0 if 100 <= i < 104 else 1.0)


@fault(
    "learning-rate-too-high", "exploding-gradient", "nan-or-inf",
    on="mlp-digits residual-clusters gelu-wine mlp-friedman",
)  # fmt: skip
def rate_that_grows_without_end(s: Setup):
    s.optimizer = sgd(1e-3, 0.9)
    s.schedule = lambda o: LambdaLR(o, lambda i: 1.04**i)


@fault(
    "oscillating-loss", "learning-rate-too-high",
    on="gru-waves normed-clusters transformer-waves residual-clusters lstm-waves gelu-wine "
    "gru-pulses",
)  # fmt: skip
def rate_at_the_edge(s: Setup):
    s.optimizer = adam(0.12)


@fault(
    "learning-rate-too-high", "exploding-gradient", "oscillating-loss", "dead-units",
    on="mlp-digits residual-clusters lstm-waves gelu-wine gru-pulses",
)  # fmt: skip
def loss_summed_over_the_batch(s: Setup):
    mean = s.loss
    s.loss = lambda out, y: mean(out, y) * len(out)
    s.optimizer = sgd(0.1, 0.9)


@fault(
    "learning-rate-too-low", "undertrained",
    on="mlp-digits mlp-cancer mlp-diabetes resnet-gratings tanh-moons",
)  # fmt: skip
def rate_of_a_millionth(s: Setup):
    s.optimizer = sgd(1e-6)


@fault(
    "learning-rate-too-low", "undertrained",
    on="lstm-waves transformer-digits autoencoder-digits reader-tokens autoencoder-gratings",
)  # fmt: skip
def adam_rate_of_a_ten_millionth(s: Setup):
    s.optimizer = adam(1e-7)


@fault(
    "learning-rate-too-low",
    on="gru-waves mlp-digits cnn-digits lstm-waves conv1d-signals gelu-wine gru-pulses",
)
def decay_per_batch(s: Setup):
    s.schedule = lambda o: StepLR(o, 1, 0.1)


@fault(
    "learning-rate-too-low", "undertrained",
    on="transformer-digits mlp-digits conv1d-signals reader-tokens",
)  # fmt: skip
def decay_by_a_quarter_per_batch(s: Setup):
    s.optimizer = sgd(0.05)
    s.schedule = lambda o: ExponentialLR(o, 0.75)


@fault(
    "undertrained", "learning-rate-too-low",
    on="mlp-hills gru-waves normed-clusters transformer-waves mlp-digits cnn-digits "
    "lstm-waves conv1d-signals gelu-wine mlp-friedman",
)  # fmt: skip
def stopped_far_too_early(s: Setup):
    s.optimizer = adam(2e-4)
    s.epochs = max(3, -(-110 // -(-len(s.data.x) // s.batch)))


@fault(
    "learning-rate-too-low", "undertrained", "loss-not-decreasing",
    on="gru-waves mlp-hills tanh-rings mlp-digits residual-clusters conv1d-signals gru-pulses",
)  # fmt: skip
def gradients_clipped_to_nothing(s: Setup):
    s.optimizer = sgd(0.05)

    def clipped(optimizer, loss, now):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(s.model.parameters(), 1e-5)
        optimizer.step()

    s.update = clipped


@fault(
    "learning-rate-too-high", "oscillating-loss", "exploding-gradient", "nan-or-inf",
    on="tanh-rings normed-clusters mlp-digits mlp-circles resnet-gratings tanh-moons",
)  # fmt: skip
def momentum_of_nearly_one(s: Setup):
    s.optimizer = sgd(0.2, 0.999)


# Weight decay.


@fault(
    "over-regularized", on="mlp-digits mlp-cancer residual-clusters gelu-wine conv1d-signals"
)
def weight_decay_of_one(s: Setup):
    s.optimizer = sgd(0.1, decay=1.0)


@fault("over-regularized", on="transformer-digits mlp-digits reader-tokens")
def decoupled_decay_of_thirty(s: Setup):
    s.optimizer = adamw(1e-3, 30.0)


@fault(
    "over-regularized",
    on="mlp-hills tanh-rings mlp-digits mlp-diabetes conv1d-signals mlp-friedman",
)
def penalty_on_the_weights(s: Setup):
    plain = s.loss
    weights = [p for p in s.model.parameters() if p.dim() > 1]
    s.loss = lambda out, y: plain(out, y) + sum(w.square().sum() for w in weights)


@fault("over-regularized", on="mlp-hills gru-waves mlp-cancer autoencoder-digits gru-pulses")
def absolute_penalty(s: Setup):
    plain = s.loss
    weights = [p for p in s.model.parameters() if p.dim() > 1]
    s.loss = lambda out, y: plain(out, y) + 0.1 * sum(w.abs().sum() for w in weights)


# Steps that are none.


@fault("unchanged-weights", on="mlp-digits lstm-waves mlp-diabetes resnet-gratings gru-pulses")
def step_never_called(s: Setup):
    def without(optimizer, loss, now):
        optimizer.zero_grad()
        loss.backward()

    s.update = without


@fault("unchanged-weights", on="residual-clusters mlp-diabetes conv1d-signals gelu-wine")
def gradients_cleared_before_the_step(s: Setup):
    def cleared(optimizer, loss, now):
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()

    s.update = cleared


@fault("unchanged-weights", on="mlp-cancer cnn-digits tanh-moons reader-tokens")
def optimizer_of_a_copy(s: Setup):
    make = s.optimizer
    s.optimizer = lambda m: make(deepcopy(m))


@fault("unchanged-weights", "learning-rate-too-low", on="mlp-digits conv1d-signals")
def rate_of_zero(s: Setup):
    s.optimizer = sgd(0.0)


@fault("unchanged-weights", on="mlp-digits mlp-cancer gelu-wine")
def body_cut_off(s: Setup):
    s.model[-3].register_forward_hook(lambda module, args, out: out.detach())
    nn.init.normal_(s.model[0].weight, std=0.02)


@fault("unchanged-weights", on="transformer-digits lstm-waves reader-tokens gru-pulses")
def head_on_a_detached_body(s: Setup):
    def cut(module, args, out):
        return (out[0].detach(), out[1]) if isinstance(out, tuple) else out.detach()

    s.model.body.register_forward_hook(cut)


@fault(
    "unchanged-weights",
    on="transformer-waves gru-waves lstm-waves transformer-digits gru-pulses reader-tokens",
)
def body_in_no_optimizer(s: Setup):
    make = s.optimizer
    s.optimizer = lambda m: make(m.head)


@fault("unchanged-weights", on="residual-clusters resnet-gratings", silent=True)
def head_replaced_after_the_optimizer(s: Setup):
    optimizer = s.optimizer(s.model)
    s.model.head = nn.Linear(s.model.head.in_features, s.outputs)
    s.optimizer = lambda _: optimizer


@fault(
    "exploding-gradient", "learning-rate-too-high", "nan-or-inf",
    on="mlp-digits cnn-digits conv1d-signals mlp-friedman",
)  # fmt: skip
def gradients_never_cleared(s: Setup):
    s.optimizer = sgd(0.1, 0.9)

    def without(optimizer, loss, now):
        loss.backward()
        optimizer.step()

    s.update = without


@fault(
    "learning-rate-too-high", "exploding-gradient", "loss-not-decreasing", "nan-or-inf",
    on="mlp-digits residual-clusters conv1d-signals gelu-wine",
)  # fmt: skip
def sign_of_the_gradient(s: Setup):
    def uphill(optimizer, loss, now):
        textbook(optimizer, -loss, now)

    s.update = uphill
