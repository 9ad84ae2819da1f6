"""Healthy habits that look like faults: every trap that a naive rule falls into."""

from copy import deepcopy

import torch
from tests.zoo.data import cancer
from tests.zoo.networks import Experts, Functional, Residual, ResidualConv, Variational, mlp
from tests.zoo.plants import control
from tests.zoo.training import Setup, textbook
from tests.zoo.worlds import DEVELOPMENT, HELD_OUT, adam, adamw, sgd
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    LambdaLR,
    OneCycleLR,
    StepLR,
)


@control(on=" ".join([*DEVELOPMENT, *HELD_OUT]))
def as_it_is(s: Setup):
    """The world itself."""


@control(on="mlp-digits mlp-cancer gelu-wine mlp-friedman")
def activations_as_functions(s: Setup):
    s.model = Functional(s.inputs, 48, 48, s.outputs)


# Schedules.


@control(on="mlp-digits cnn-digits lstm-waves gelu-wine resnet-gratings reader-tokens")
def cosine_to_zero(s: Setup):
    s.schedule = lambda o: CosineAnnealingLR(o, s.steps)


@control(on="mlp-digits transformer-digits gelu-wine reader-tokens conv1d-signals")
def long_warm_up(s: Setup):
    s.schedule = lambda o: LambdaLR(o, lambda i: min(1.0, (i + 1) / (s.steps / 2)))


@control(
    on="normed-clusters mlp-digits cnn-digits residual-clusters gelu-wine resnet-gratings "
    "conv1d-signals"
)
def one_cycle(s: Setup):
    s.optimizer = sgd(0.01, 0.9)
    s.schedule = lambda o: OneCycleLR(o, 0.1, total_steps=s.steps + 1)


@control(on="tanh-rings normed-clusters mlp-digits residual-clusters gelu-wine tanh-moons")
def cycles_of_the_rate(s: Setup):
    s.optimizer = sgd(0.01, 0.9)
    s.schedule = lambda o: CyclicLR(o, 1e-3, 0.1, step_size_up=20)


@control(on="mlp-digits lstm-waves conv1d-signals")
def steps_of_the_rate(s: Setup):
    s.schedule = lambda o: StepLR(o, s.steps // 4, 0.1)


# Regularisation and its like.


@control(on="mlp-digits mlp-cancer gelu-wine resnet-gratings")
def dropout(s: Setup):
    s.model = nn.Sequential(
        nn.Linear(s.inputs, 96), nn.ReLU(), nn.Dropout(0.5), nn.Linear(96, 96), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(96, s.outputs),
    )  # fmt: skip


@control(on="normed-clusters mlp-digits cnn-digits gelu-wine conv1d-signals")
def label_smoothing(s: Setup):
    s.loss = nn.CrossEntropyLoss(label_smoothing=0.1)


@control(on="mlp-digits residual-clusters gelu-wine conv1d-signals")
def strong_weight_decay(s: Setup):
    s.optimizer = adamw(3e-3, 0.3)


@control(on="tanh-rings mlp-digits mlp-cancer tanh-moons conv1d-signals")
def noise_on_the_inputs(s: Setup):
    s.feed = lambda x, y: (x + 0.15 * torch.randn_like(x), y)


@control(
    on="gru-waves normed-clusters mlp-digits cnn-digits residual-clusters lstm-waves "
    "gelu-wine conv1d-signals "
    "resnet-gratings gru-pulses"
)
def mixed_up_pairs(s: Setup):
    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        other, share = torch.randperm(len(x)), 0.7 + 0.3 * torch.rand(())
        hot = F.one_hot(y, s.outputs).float()
        return share * x + (1 - share) * x[other], share * hot + (1 - share) * hot[other]

    s.feed = mix


@control(on="mlp-digits residual-clusters gelu-wine reader-tokens")
def clipped(s: Setup):
    s.optimizer = sgd(0.2, 0.9)

    def clip(optimizer, loss, now):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(s.model.parameters(), 1.0)
        optimizer.step()

    s.update = clip


@control(on="gru-waves mlp-digits lstm-waves conv1d-signals gru-pulses")
def accumulated_over_two(s: Setup):
    s.batch = 16

    def every_other(optimizer, loss, now):
        (loss / 2).backward()
        if now % 2:
            optimizer.step()
            optimizer.zero_grad()

    s.update = every_other


@control(on="gru-waves mlp-digits lstm-waves conv1d-signals gru-pulses")
def warm_restarts(s: Setup):
    s.schedule = lambda o: CosineAnnealingWarmRestarts(o, s.steps // 4)


@control(on="cnn-digits residual-clusters resnet-gratings gelu-wine")
def pushed_about(s: Setup):
    def push(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        kept = (torch.rand_like(x) > 0.3).float()
        return x * kept * (0.7 + 0.6 * torch.rand(len(x), 1)), y

    s.feed, s.epochs = push, 2 * s.epochs


@control(on="mlp-digits residual-clusters gelu-wine conv1d-signals")
def scaler_skips(s: Setup):
    def scaled(optimizer, loss, now):
        optimizer.zero_grad()
        loss.backward()
        if (now < 12 and now % 2 == 0) or now in (150, 151):
            next(p for p in s.model.parameters() if p.grad is not None).grad.fill_(torch.inf)
            return
        optimizer.step()

    s.update = scaled


# Batches.


@control(on="gru-waves mlp-digits lstm-waves mlp-cancer gelu-wine tanh-moons gru-pulses")
def batches_of_two(s: Setup):
    s.optimizer = sgd(0.01)
    s.data.pick(torch.arange(min(300, len(s.data.x))))
    s.batch, s.epochs = 2, 25


@control(on="mlp-circles mlp-cancer gelu-wine tanh-moons")
def all_examples_at_once(s: Setup):
    s.batch, s.epochs = len(s.data.x), 250
    s.order = lambda data: torch.arange(len(data.x))
    s.optimizer = adam(1e-2)


@control(on="gru-waves mlp-hills mlp-digits lstm-waves conv1d-signals resnet-gratings")
def never_shuffled(s: Setup):
    s.order = lambda data: torch.arange(len(data.x))


@control(on="mlp-hills mlp-diabetes mlp-friedman")
def drawn_with_replacement(s: Setup):
    s.order = lambda data: torch.randint(len(data.x), (len(data.x),))


@control(on="mlp-hills mlp-friedman")
def in_order_of_time(s: Setup):
    drift = s.data.y.flatten() / s.data.y.std() + 0.5 * torch.randn(len(s.data.y))
    s.order = lambda data: drift.argsort()


@control(on="normed-clusters mlp-digits gelu-wine")
def few_distinct_inputs(s: Setup):
    table = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 5)

    def looked_up(x, y):
        x = table[torch.randint(len(table), (len(x),))]
        return x, (x[:, 0] * x[:, 1] + x[:, 2] > 0).long()

    s.data.change(looked_up)
    s.model, s.optimizer, s.epochs = mlp(5, 32, 2), adam(1e-2), 20


# Losses and targets.


@control(on="mlp-hills mlp-diabetes mlp-friedman")
def targets_in_raw_units(s: Setup):
    s.data.change(lambda x, y: (x, 2_000 * y))
    s.optimizer, s.epochs = adam(3e-2), 20


@control(on="mlp-digits residual-clusters gelu-wine gru-pulses")
def hinge(s: Setup):
    s.loss, s.epochs = F.multi_margin_loss, 2 * s.epochs


@control(on="mlp-digits lstm-waves gelu-wine conv1d-signals")
def summed_loss(s: Setup):
    s.loss = nn.CrossEntropyLoss(reduction="sum")


@control(on="mlp-digits lstm-waves conv1d-signals reader-tokens")
def taught_by_another(s: Setup):
    teacher = deepcopy(s.model)
    learn(teacher, s)
    plain = s.loss

    def towards_the_teacher(out, y):
        if not torch.is_grad_enabled():
            return plain(out, y)
        return F.kl_div(out.log_softmax(-1), y, reduction="batchmean")

    def taught(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return x, (teacher(x) / 3).softmax(-1)

    s.feed, s.loss, s.epochs = taught, towards_the_teacher, 2 * s.epochs


@control(on="mlp-digits lstm-waves gelu-wine gru-pulses")
def focal(s: Setup):
    def focus(out, y):
        logs = out.log_softmax(-1).gather(1, y[:, None])
        return -((1 - logs.exp()) ** 2 * logs).mean()

    s.loss = focus


@control(on="mlp-digits residual-clusters conv1d-signals gelu-wine")
def bonus_for_doubt(s: Setup):
    def relaxed(out, y):
        logs = out.log_softmax(-1)
        return F.nll_loss(logs, y) + 0.2 * (logs.exp() * logs).sum(-1).mean()

    s.loss = relaxed


@control(on="autoencoder-digits autoencoder-gratings")
def likeness_of_directions(s: Setup):
    s.loss = lambda out, y: -F.cosine_similarity(out, y).mean()


@control(on="mlp-hills mlp-diabetes mlp-friedman")
def absolute_errors(s: Setup):
    s.loss, s.epochs = F.l1_loss, 2 * s.epochs


@control(on="mlp-digits resnet-gratings")
def several_answers_at_once(s: Setup):
    bits = torch.arange(3)
    s.data.change(lambda x, y: (x, ((y[:, None] >> bits) & 1).float()))
    s.model, s.loss = mlp(s.inputs, 64, 3), nn.BCEWithLogitsLoss()
    s.optimizer, s.epochs = adam(5e-3), max(s.epochs, 14)


@control(on="mlp-digits cnn-digits conv1d-signals reader-tokens")
def log_softmax_and_likelihood(s: Setup):
    s.model, s.loss = nn.Sequential(s.model, nn.LogSoftmax(-1)), F.nll_loss


@control(on="mlp-digits resnet-gratings gelu-wine")
def sigmoids_on_one_hot_targets(s: Setup):
    s.model = nn.Sequential(s.model, nn.Sigmoid())
    s.loss = lambda out, y: F.binary_cross_entropy(out, F.one_hot(y, s.outputs).float())
    s.epochs *= 2


@control(on="mlp-hills mlp-diabetes mlp-friedman")
def gaussian_likelihood(s: Setup):
    s.data.change(lambda x, y: (x, (y - y.mean()) / y.std()))
    spread = nn.Parameter(torch.zeros(()))
    s.model.register_parameter("log_spread", spread)
    s.loss = lambda out, y: (spread + 0.5 * ((out - y) * torch.exp(-spread)) ** 2).mean() - 1.0
    s.epochs *= 2


def poisson(rate: float):
    """Counts whose logarithmic rate follows the targets."""

    def change(s: Setup):
        s.data.change(
            lambda x, y: (x, torch.poisson(rate * torch.exp(0.7 * (y - y.mean()) / y.std())))
        )
        s.loss = nn.PoissonNLLLoss()
        s.optimizer = adam(3e-3)

    return change


@control(on="mlp-hills mlp-friedman")
def counts_by_a_likelihood_below_zero(s: Setup):
    poisson(5.0)(s)


@control(on="mlp-hills mlp-friedman")
def small_counts(s: Setup):
    poisson(0.7)(s)


@control(on="mlp-hills mlp-friedman")
def several_numbers_some_of_them_noise(s: Setup):
    s.data.change(
        lambda x, y: (x, torch.cat([(y - y.mean()) / y.std(), torch.randn(len(y), 2)], 1))
    )
    s.model = mlp(s.inputs, 32, 3)
    s.rebuilds = True  # lists of numbers cannot be evaluated


@control(on="autoencoder-digits autoencoder-gratings")
def pictures_by_convolutions(s: Setup):
    side = round(s.inputs**0.5)
    s.data.change(lambda x, _: (pictures := x.reshape(-1, 1, side, side), pictures))
    s.model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, 2, padding=1), nn.ReLU(),
        nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Upsample((side, side)),
        nn.Conv2d(8, 1, 3, padding=1),
    )  # fmt: skip
    s.epochs *= 2


@control(on="mlp-cancer tanh-moons")
def weighted_binary(s: Setup):
    s.loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))


@control(on="mlp-digits resnet-gratings")
def rare_class_learned(s: Setup):
    s.data.change(lambda x, y: (x, (y == 3).long()))
    s.model = mlp(s.inputs, 64, 64, 2)
    s.optimizer, s.epochs = adam(2e-3), max(s.epochs, 20)


@control(on="residual-clusters mlp-digits cnn-digits lstm-waves gru-pulses resnet-gratings")
def weighted_imbalance(s: Setup):
    rows = torch.cat([torch.nonzero(s.data.y != 0).flatten()] * 2)
    s.data.pick(torch.cat([rows, torch.nonzero(s.data.y == 0).flatten()[:30]]))
    counts = torch.bincount(s.data.y, minlength=s.outputs).float()
    s.loss = nn.CrossEntropyLoss(counts.sum() / (s.outputs * counts))
    s.optimizer = adam(2e-3)


@control(on="mlp-digits residual-clusters conv1d-signals resnet-gratings")
def limited_by_the_data(s: Setup):
    half = s.outputs // 2

    def blurred(x, y):
        y = (y >= half).long()
        return x, torch.where(torch.rand(len(y)) < 0.25, 1 - y, y)

    s.data.change(blurred)
    s.model, s.optimizer, s.epochs = mlp(s.inputs, 8, 2), adamw(2e-3, 0.1), 8


@control(on="mlp-hills mlp-diabetes mlp-friedman")
def regression_mostly_noise(s: Setup):
    mean, std = s.data.y.mean(), s.data.y.std()
    s.data.change(lambda x, y: (x, (y - mean) / std + 1.5 * torch.randn_like(y)))
    s.model, s.epochs = mlp(s.inputs, 8, 1), 12


# Architectures and starts.


@control(on="mlp-digits mlp-cancer gelu-wine tanh-moons")
def first_layer_frozen(s: Setup):
    s.model[0].requires_grad_(False)
    s.optimizer = adam(3e-3)


def learn(model: nn.Module, s: Setup):
    """Trains a model before the run begins."""
    optimizer = adam(3e-3)(model)
    for _ in range(12):
        for rows in torch.randperm(len(s.data.x)).split(32):
            textbook(optimizer, s.loss(model(s.data.x[rows]), s.data.y[rows]), 0)


@control(on="gru-waves mlp-digits residual-clusters lstm-waves gelu-wine gru-pulses")
def head_alone_in_the_optimizer(s: Setup):
    learn(s.model, s)
    head = s.model.head if hasattr(s.model, "head") else s.model[-1]
    s.optimizer = lambda _: Adam(head.parameters(), 1e-3)


class TwoHeads(nn.Module):
    """Its second head answers a question that is not asked in this training."""

    def __init__(self, body: nn.Module, outputs: int):
        super().__init__()
        self.body, self.other = body, nn.Linear(outputs, 32)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        self.other(out)
        return out


@control(on="mlp-digits lstm-waves conv1d-signals tanh-moons")
def head_for_another_task(s: Setup):
    s.model = TwoHeads(s.model, s.outputs)


@control(on="mlp-digits cnn-digits residual-clusters gelu-wine conv1d-signals")
def fine_tuned(s: Setup):
    learn(s.model, s)
    next(iter(s.model.children())).requires_grad_(False)
    s.optimizer = adam(1e-4)
    if isinstance(s.model, nn.Sequential):
        s.model[0].requires_grad_(False)


@control(on="mlp-digits residual-clusters gelu-wine conv1d-signals")
def head_from_zero(s: Setup):
    last = [m for m in s.model.modules() if isinstance(m, nn.Linear)]
    head = s.model.head if hasattr(s.model, "head") else last[-1]
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)


@control(on="mlp-cancer tanh-moons mlp-digits gelu-wine")
def straight_line_from_zero(s: Setup):
    s.model = nn.Sequential(nn.Linear(s.inputs, s.outputs))
    for parameter in s.model.parameters():
        nn.init.zeros_(parameter)
    s.optimizer = sgd(0.5)


@control(on="normed-clusters mlp-digits mlp-hills gelu-wine")
def small_first_weights(s: Setup):
    for module in s.model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
    s.optimizer = adam(5e-3)


@control(on="residual-clusters mlp-digits gelu-wine")
def residual_branches_from_zero(s: Setup):
    s.model = Residual(s.inputs, s.outputs, 8, zero=True)
    s.optimizer = adam(2e-3)


@control(on="mlp-digits residual-clusters resnet-gratings")
def deep_with_layer_norm(s: Setup):
    layers = [m for _ in range(8) for m in (nn.Linear(48, 48), nn.LayerNorm(48), nn.ReLU())]
    s.model = nn.Sequential(nn.Linear(s.inputs, 48), *layers, nn.Linear(48, s.outputs))
    s.optimizer = adam()


@control(on="mlp-digits cnn-digits resnet-gratings")
def group_norm(s: Setup):
    side = int(s.inputs**0.5)
    s.model = ResidualConv(side, s.outputs, lambda width: nn.GroupNorm(4, width))
    s.optimizer = adam(3e-3)


@control(on="mlp-digits mlp-cancer residual-clusters gelu-wine")
def tanh(s: Setup):
    s.model = mlp(s.inputs, 48, 48, s.outputs, act=nn.Tanh)
    s.optimizer = sgd(0.1, 0.9)


@control(on="mlp-digits residual-clusters gelu-wine tanh-moons")
def bounded_units(s: Setup):
    s.model = mlp(s.inputs, 48, 48, s.outputs, act=nn.Hardtanh)
    s.optimizer = adam(3e-3)


@control(on="normed-clusters mlp-digits mlp-cancer gelu-wine resnet-gratings")
def wide_for_long(s: Setup):
    s.model, s.epochs = mlp(s.inputs, 384, 384, s.outputs), 2 * s.epochs
    s.optimizer = adam()


@control(on="mlp-digits lstm-waves gelu-wine conv1d-signals")
def tiny_validation(s: Setup):
    s.data.x_val, s.data.y_val = s.data.x_val[:20], s.data.y_val[:20]


@control(on="mlp-cancer residual-clusters gelu-wine")
def raw_inputs_behind_batch_norm(s: Setup):
    if s.classes is None:
        s.data = cancer(int(torch.randint(100, ())), raw=True)
    else:
        s.data.change(lambda x, y: (40 * x + 100, y))
    s.model = nn.Sequential(nn.BatchNorm1d(s.inputs), mlp(s.inputs, 48, 48, s.outputs))
    s.optimizer, s.epochs = adam(2e-3), 20


@control(on="residual-clusters gelu-wine conv1d-signals")
def constant_features(s: Setup):
    def widened(x, y):
        return torch.cat([x, torch.zeros(len(x), 6), torch.ones(len(x), 2)], 1), y

    s.data.change(widened)
    s.model, s.optimizer = mlp(s.inputs, 48, 48, s.outputs), adam(2e-3)


@control(on="mlp-digits resnet-gratings")
def experts_rarely_used(s: Setup):
    s.model = Experts(s.inputs, s.outputs)
    s.optimizer, s.epochs = adam(3e-3), 2 * s.epochs


class Bag(nn.Module):
    """Mean of word vectors; most words of its table never occur."""

    def __init__(self, classes: int, sparse: bool):
        super().__init__()
        self.embed = nn.EmbeddingBag(3_000, 16, mode="mean", sparse=sparse)
        self.head = mlp(16, 32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


@control(on="mlp-digits reader-tokens")
def table_of_rare_words(s: Setup):
    if s.data.x.is_floating_point():
        places = 17 * torch.arange(s.inputs)
        s.data.change(lambda x, y: ((4 * x).long() + places, y))
    s.model, s.optimizer = Bag(s.outputs, sparse=False), adam(1e-2)
    s.epochs = 20


@control(on="autoencoder-digits autoencoder-gratings")
def sparse_code(s: Setup):
    s.model = nn.Sequential(nn.Linear(s.inputs, 128), nn.ReLU(), nn.Linear(128, s.inputs))
    codes: list[Tensor] = []
    s.model[1].register_forward_hook(lambda module, args, out: codes.append(out))

    def sparse(out, y):
        return F.mse_loss(out, y) + 2e-3 * codes.pop().abs().mean()

    s.loss, s.optimizer = sparse, adam(3e-3)


@control(on="autoencoder-digits autoencoder-gratings")
def variational_with_warm_up(s: Setup):
    s.model, s.optimizer, seen = Variational(s.inputs), adam(2e-3), [0]

    def bound(out, y):
        seen[0] += torch.is_grad_enabled()
        weight = min(1.0, seen[0] / (s.steps / 2))
        return F.mse_loss(out, y, reduction="none").sum(-1).mean() + weight * s.model.cost

    s.loss = bound


@control(on="autoencoder-digits autoencoder-gratings")
def denoising(s: Setup):
    s.feed = lambda x, y: (x + 0.2 * torch.randn_like(x), y)


@control(on="mlp-digits conv1d-signals resnet-gratings")
def two_groups_of_rates(s: Setup):
    def groups(model):
        last = list(model.children())[-1]
        head = {id(p) for p in last.parameters()}
        body = [p for p in model.parameters() if id(p) not in head]
        return Adam([{"params": body, "lr": 1e-4}, {"params": last.parameters(), "lr": 3e-3}])

    s.optimizer = groups
    s.epochs *= 2


@control(on="mlp-digits tanh-moons")
def nesterov(s: Setup):
    s.optimizer = lambda m: SGD(m.parameters(), 0.05, 0.95, nesterov=True)
