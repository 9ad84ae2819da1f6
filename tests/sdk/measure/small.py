"""A small network and one step of its training."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.measure.snapshot import Snapshot
from backslide.measure.watch import Watch


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def batch(rows: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(rows, 8, generator=generator),
        torch.randint(0, 3, (rows,), generator=generator),
    )


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, rows: int = 32) -> None:
    inputs, targets = batch(rows)
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.step()


def watched_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Snapshot:
    watch = Watch(model, [optimizer], overhead=None)
    train_step(model, optimizer)
    (snapshot,) = watch.step(0)
    watch.close()
    assert watch.problems == ()
    return snapshot


def names(snapshot: Snapshot, role: str) -> list[str]:
    catalogue = snapshot.catalogue
    pairs = zip(catalogue.names, catalogue.roles, strict=True)
    return [name for name, each in pairs if each == role]


def rms(tensor: torch.Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item()
