"""The animals: each case trains a network with one thing done to it, and says what that is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tests.zoo.training import base, digits, mlp, train
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, StepLR

from backslide_detector.evidence import RunEvidence


@dataclass(frozen=True)
class Case:
    """One animal. `labels`: checks that would name its fault; empty for a healthy one."""

    name: str
    labels: tuple[str, ...]
    run: Callable[[], RunEvidence]

    @property
    def held_out(self) -> bool:
        """Added after all thresholds were set, and only measured; the others helped."""
        return int(self.name[1:]) >= (71 if self.labels else 61)


CASES: list[Case] = []


def case(name: str, *labels: str):
    def register(function: Callable[[], RunEvidence]):
        CASES.append(Case(name, labels, function))
        return function

    return register


def reset(model: nn.Module, std: float = 1.0) -> nn.Module:
    """Weights from N(0, std²)."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=std)
    return model


def sgd(model, lr, **more):
    return SGD(model.parameters(), lr, **more)


def adam(model, lr=1e-3):
    return Adam([p for p in model.parameters() if p.requires_grad], lr)


# Faults.


@case("F01", "learning-rate-too-high")
def rate_of_ten():
    return train("F01", m := base(), sgd(m, 10.0), digits())


@case("F02", "learning-rate-too-high")
def adam_rate_of_one():
    return train("F02", m := base(), adam(m, 1.0), digits())


@case("F03", "learning-rate-too-low")
def rate_of_a_millionth():
    return train("F03", m := base(), sgd(m, 1e-6), digits())


@case("F04", "vanishing-gradient")
def deep_sigmoid():
    m = mlp(64, *[64] * 8, 10, act=nn.Sigmoid)
    return train("F04", m, sgd(m, 0.1), digits())


@case("F05", "learning-rate-too-low")
def adam_rate_of_a_ten_millionth():
    return train("F05", m := base(), adam(m, 1e-7), digits(), log_rate=True)


@case("F06", "exploding-gradient", "nan-or-inf", "poor-initialization")
def wide_init():
    m = reset(mlp(64, *[64] * 10, 10))
    return train("F06", m, sgd(m, 0.01), digits())


@case("F08", "dead-units")
def buried_units():
    m = base()
    for layer in (m[0], m[2]):
        nn.init.constant_(layer.bias, -10.0)
    return train("F08", m, sgd(m, 0.01), digits())


@case("F09", "dead-units", "learning-rate-too-high")
def units_killed_by_a_spike():
    m = base()
    opt = sgd(m, 0.05)

    def spike(recorder):
        opt.param_groups[0]["lr"] = 50.0 if recorder.now in (100, 101, 102) else 0.05

    return train("F09", m, opt, digits(), before_step=spike, log_rate=True)


@case("F10", "saturated-activation", "poor-initialization", "input-scale")
def raw_input_to_tanh():
    m = reset(mlp(64, 64, 64, 10, act=nn.Tanh))
    return train("F10", m, sgd(m, 0.01), digits(scale=1.0))


@case("F11", "saturated-activation", "poor-initialization", "vanishing-gradient")
def wide_sigmoid():
    m = reset(mlp(64, 64, 64, 64, 10, act=nn.Sigmoid), 5.0)
    return train("F11", m, sgd(m, 0.01), digits())


@case("F12", "symmetric-weights", "poor-initialization", "vanishing-gradient", "dead-units")
def zero_init():
    m = base()
    for parameter in m.parameters():
        nn.init.zeros_(parameter)
    return train("F12", m, sgd(m, 0.1), digits())


@case("F14", "output-loss-mismatch")
def softmax_twice():
    m = nn.Sequential(*base(), nn.Softmax(dim=1))
    return train("F14", m, adam(m), digits(), epochs=40)


@case("F25", "exploding-gradient", "learning-rate-too-high")
def gradients_never_cleared():
    return train("F25", m := base(), sgd(m, 0.1, momentum=0.9), digits(), zero_grad=False)


@case("F27", "unchanged-weights")
def optimizer_never_steps():
    return train("F27", m := base(), adam(m), digits(), stepping=False)


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = mlp(64, 64, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(F.relu(self.body(x)).detach())


@case("F28", "unchanged-weights")
def detached_body():
    return train("F28", m := Detached(), adam(m), digits())


@case("F29", "unchanged-weights")
def optimizer_of_another_model():
    return train("F29", base(), adam(base()), digits())


@case("F31", "label-noise", "label-mismatch", "overfitting")
def random_labels():
    d = digits()
    d.y = d.y[torch.randperm(len(d.y))]
    m = mlp(64, 256, 256, 10)
    return train("F31", m, adam(m), d, epochs=60)


@case("F33", "label-noise", "overfitting")
def noisy_labels():
    d = digits()
    wrong = torch.rand(len(d.y)) < 0.4
    d.y = torch.where(wrong, torch.randint(0, 10, d.y.shape), d.y)
    return train("F33", m := base(), adam(m), d, epochs=40)


@case("F34", "class-imbalance", "class-collapse", "constant-output")
def one_class_in_training():
    d = digits()
    rest = torch.nonzero(d.y != 0).flatten()
    zeros = torch.nonzero(d.y == 0).flatten()
    picked = torch.cat([zeros.repeat(10)[:1140], rest[:60]])
    d.x, d.y = d.x[picked], d.y[picked]
    return train("F34", m := base(), sgd(m, 0.01), d)


@case("F36", "nan-or-inf")
def one_missing_pixel():
    d = digits()
    d.x[7, 3] = float("nan")
    return train("F36", m := base(), adam(m), d)


@case("F38", "nan-or-inf")
def log_of_a_negative_number():
    def broken(out, y):
        return -torch.log(out.softmax(1).gather(1, y[:, None]) - 0.05).mean()

    return train("F38", m := base(), adam(m), digits(), criterion=broken)


@case("F39", "learning-rate-too-low")
def decay_per_batch():
    m = base()
    opt = sgd(m, 0.1)
    return train("F39", m, opt, digits(), schedule=StepLR(opt, 1, 0.1), log_rate=True)


@case("F40", "over-regularized")
def weight_decay_of_one():
    return train("F40", m := base(), sgd(m, 0.1, weight_decay=1.0), digits())


@case("F42", "overfitting", "too-little-data")
def sixty_examples():
    d = digits()
    d.x, d.y = d.x[:60], d.y[:60].clone()
    wrong = torch.rand(60) < 0.2
    d.y = torch.where(wrong, torch.randint(0, 10, (60,)), d.y)
    m = mlp(64, 512, 512, 10)
    return train("F42", m, adam(m), d, epochs=200)


@case("F43", "overfitting", "too-little-data")
def forty_examples():
    d = digits(seed=3)
    d.x, d.y = d.x[:40], d.y[:40]
    m = mlp(64, 256, 256, 10)
    return train("F43", m, adam(m, 3e-3), d, epochs=200, batch=8)


@case("F61", "vanishing-gradient")
def twenty_layers():
    m = mlp(64, *[64] * 20, 10)
    return train("F61", m, sgd(m, 0.01), digits())


@case("F63", "exploding-gradient", "learning-rate-too-high", "nan-or-inf")
def regression_blows_up():
    d = digits()
    for part in ("y", "y_val", "y_test"):
        setattr(d, part, getattr(d, part).float()[:, None] * 10)
    m = mlp(64, 64, 64, 1)
    return train("F63", m, sgd(m, 0.5), d, criterion=F.mse_loss, classes=False)


@case("F65", "dead-units")
def buried_units_in_a_convnet():
    m = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10),
    )  # fmt: skip
    nn.init.constant_(m[3].bias, -20.0)
    return train("F65", m, adam(m), digits(), epochs=8)


@case("F71", "learning-rate-too-high")
def convnet_rate_of_five():
    m = convnet()
    return train("F71", m, sgd(m, 5.0, momentum=0.9), digits(), epochs=6)


@case("F73", "learning-rate-too-low")
def recurrent_rate_too_low():
    m = Recurrent()
    return train("F73", m, adam(m, 1e-7), digits(), epochs=8)


@case("F75", "unchanged-weights")
def transformer_cut_off():
    m = Transformer()
    m.body.register_forward_hook(lambda module, args, out: out.detach())
    return train("F75", m, adam(m), digits(), epochs=6)


@case("F77", "constant-output", "dead-units")
def regression_behind_a_stuck_relu():
    d = digits()
    for part, x in (("y", d.x), ("y_val", d.x_val), ("y_test", d.x_test)):
        setattr(d, part, x[:, 20:44].mean(1, keepdim=True) - 0.5)
    m = nn.Sequential(*mlp(64, 64, 1), nn.ReLU())
    nn.init.constant_(m[2].bias, -5.0)
    return train("F77", m, adam(m), d, criterion=F.mse_loss, classes=False)


@case("F79", "vanishing-gradient")
def thirty_layers_of_sigmoid():
    m = mlp(64, *[32] * 30, 10, act=nn.Sigmoid)
    return train("F79", m, adam(m), digits(), epochs=6)


@case("F81", "learning-rate-too-high")
def transformer_rate_too_high():
    m = Transformer()
    return train("F81", m, AdamW(m.parameters(), 0.5), digits(), epochs=6)


# Healthy controls.


@case("H01")
def plain():
    return train("H01", m := base(), adam(m), digits())


@case("H02")
def wide_and_long():
    m = mlp(64, 512, 512, 10)
    return train("H02", m, adam(m), digits(), epochs=40)


@case("H03")
def frozen_first_layer():
    m = base()
    m[0].requires_grad_(False)
    return train("H03", m, adam(m), digits())


@case("H04")
def cosine_to_zero():
    m = base()
    opt = adam(m)
    return train(
        "H04", m, opt, digits(), epochs=60, schedule=CosineAnnealingLR(opt, 60 * 38),
        log_rate=True,
    )  # fmt: skip


@case("H06")
def long_warm_up():
    m = base()
    opt = adam(m)
    warm = LambdaLR(opt, lambda s: min(1.0, (s + 1) / 380))
    return train("H06", m, opt, digits(), schedule=warm, log_rate=True)


def convnet():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


@case("H10")
def convnet_with_batch_norm():
    m = convnet()
    return train("H10", m, AdamW(m.parameters(), 1e-3), digits(), epochs=10)


@case("H11")
def dropout():
    m = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 128), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip
    return train("H11", m, adam(m), digits())


@case("H12")
def label_smoothing():
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    return train("H12", m := base(), adam(m), digits(), epochs=40, criterion=smooth)


@case("H15")
def limited_by_the_data():
    d = digits()
    for y in (d.y, d.y_val, d.y_test):
        y.copy_((y >= 5).long())
        y[torch.rand(len(y)) < 0.27] ^= 1
    m = mlp(64, 16, 2)
    return train("H15", m, adam(m), d)


@case("H19")
def one_cycle():
    m = base()
    opt = sgd(m, 0.01, momentum=0.9)
    cycle = OneCycleLR(opt, 0.3, total_steps=20 * 38)
    return train("H19", m, opt, digits(), schedule=cycle, log_rate=True)


@case("H20")
def batches_of_two():
    return train("H20", m := base(), sgd(m, 0.01), digits(), batch=2, epochs=5)


@case("H23")
def honest_imbalance():
    d = digits()
    for part in ("y", "y_val", "y_test"):
        setattr(d, part, (getattr(d, part) == 3).long())
    return train("H23", m := base(), adam(m), d)


@case("H26")
def scaler_skips():
    m = base()
    opt = adam(m)
    real = opt.step

    def overflow(recorder):
        skip = (recorder.now < 12 and recorder.now % 2 == 0) or recorder.now in (400, 401)
        if skip:
            m[0].weight.grad.fill_(float("inf"))

    def step(*args, **kwargs):
        if all(torch.isfinite(p.grad).all() for p in m.parameters()):
            real(*args, **kwargs)

    opt.step = step
    return train("H26", m, opt, digits(), before_step=overflow)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(torch.randn(8, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.body(self.embed(x.view(-1, 8, 8)) + self.place).mean(1))


@case("H41")
def transformer():
    m = Transformer()
    return train("H41", m, AdamW(m.parameters(), 1e-3), digits(), epochs=10)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(8, 48, batch_first=True), nn.Linear(48, 10)

    def forward(self, x):
        return self.head(self.body(x.view(-1, 8, 8))[0][:, -1])


@case("H42")
def recurrent():
    m = Recurrent()
    return train("H42", m, adam(m, 3e-3), digits(), epochs=15)


@case("H43")
def regression_in_raw_units():
    d = digits()
    for part, x in (("y", d.x), ("y_val", d.x_val), ("y_test", d.x_test)):
        setattr(d, part, (x[:, 20:44].sum(1, keepdim=True)) * 1000)
    m = mlp(64, 64, 64, 1)
    return train("H43", m, adam(m, 1e-2), d, criterion=F.mse_loss, classes=False)


@case("H44")
def autoencoder():
    d = digits()
    d.y, d.y_val, d.y_test = d.x, d.x_val, d.x_test
    m = nn.Sequential(*mlp(64, 32, 8, 32, 64), nn.Sigmoid())
    return train("H44", m, adam(m, 3e-3), d, criterion=F.mse_loss, classes=False)


@case("H45")
def sparse_code():
    d = digits()
    d.y, d.y_val, d.y_test = d.x, d.x_val, d.x_test
    m = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))

    def sparse(out, y):
        return F.mse_loss(out, y) + 1e-4 * m[0].weight.abs().sum() / 10

    return train("H45", m, adam(m, 3e-3), d, criterion=sparse, classes=False)


@case("H46")
def hinge():
    m = base()
    return train("H46", m, adam(m), digits(), criterion=F.multi_margin_loss, epochs=40)


@case("H47")
def sigmoid_outputs():
    m = nn.Sequential(*base(), nn.Sigmoid())

    def bce(out, y):
        return F.binary_cross_entropy(out, F.one_hot(y, 10).float())

    return train("H47", m, adam(m, 3e-3), digits(), criterion=bce, epochs=40)


@case("H48")
def tanh_net():
    m = mlp(64, 64, 64, 10, act=nn.Tanh)
    return train("H48", m, sgd(m, 0.1, momentum=0.9), digits(), epochs=40)


@case("H49")
def fine_tuning():
    m = base()
    train("pre", m, adam(m), digits(), epochs=15)
    m[0].requires_grad_(False)
    return train("H49", m, adam(m, 1e-4), digits(seed=1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(64, 48), nn.Linear(48, 10)
        self.blocks = nn.ModuleList(mlp(48, 48, 48) for _ in range(8))
        for block in self.blocks:
            nn.init.zeros_(block[-1].weight)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


@case("H50")
def residual_from_zero():
    m = Residual()
    return train("H50", m, adam(m), digits())


@case("H51")
def clipped():
    m = base()

    def clip(_):
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)

    return train("H51", m, sgd(m, 0.5), digits(), before_step=clip)


@case("H52")
def deep_relu_with_norm():
    layers = [m for _ in range(8) for m in (nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU())]
    m = nn.Sequential(*layers, nn.Linear(64, 10))
    return train("H52", m, adam(m), digits())


@case("H61")
def convnet_with_momentum():
    m = convnet()
    return train("H61", m, sgd(m, 0.1, momentum=0.9), digits(), epochs=8)


@case("H63")
def noisy_regression():
    d = digits()
    for part, x in (("y", d.x), ("y_val", d.x_val), ("y_test", d.x_test)):
        signal = x[:, 20:44].sum(1, keepdim=True)
        signal = (signal - signal.mean()) / signal.std()
        setattr(d, part, signal + 1.5 * torch.randn_like(signal))
    m = mlp(64, 32, 1)
    return train("H63", m, adam(m), d, criterion=F.mse_loss, classes=False, epochs=8)


@case("H65")
def weighted_imbalance():
    d = digits()
    for part in ("y", "y_val", "y_test"):
        setattr(d, part, (getattr(d, part) == 8).long())
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([0.55, 5.0]))
    return train("H65", m := mlp(64, 64, 2), adam(m), d, criterion=weighted, epochs=10)


class Variational(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = mlp(64, 64, 16), mlp(8, 64, 64)
        self.weight = 0.0

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, -1)
        self.cost = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1).mean()
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_var).exp())


@case("H67")
def variational_with_warm_up():
    d = digits()
    d.y, d.y_val, d.y_test = d.x, d.x_val, d.x_test
    m = Variational()

    def bound(out, y):
        m.weight = min(1.0, m.weight + 0.002)
        return F.mse_loss(out, y, reduction="none").sum(-1).mean() + m.weight * m.cost

    return train("H67", m, adam(m), d, criterion=bound, classes=False, epochs=12)


@case("H69")
def strong_weight_decay():
    m = base()
    opt = AdamW(m.parameters(), 3e-3, weight_decay=0.3)
    return train("H69", m, opt, digits(), epochs=12)


@case("H71")
def summed_loss():
    def summed(out, y):
        return F.cross_entropy(out, y, reduction="sum")

    m = mlp(64, 64, 10, act=nn.GELU)
    return train("H71", m, adam(m), digits(), criterion=summed, epochs=12)
