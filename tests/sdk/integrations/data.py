"""A small classification task, the same for every framework."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def examples(count: int, seed: int) -> TensorDataset:
    """Points in four dimensions; the class says whether the first two agree in sign."""
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs[:, 0] * inputs[:, 1] > 0).long())


def loader(count: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(examples(count, seed), batch_size=8)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def losses_by_hand(
    model: nn.Module, batches: DataLoader[tuple[Tensor, ...]], *, epochs: int, accumulated: int
) -> list[float]:
    """Mean loss of each optimizer step of plain SGD with learning rate 0.1."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found, sums = [], []
    for _ in range(epochs):
        for inputs, targets in batches:
            loss = nn.functional.cross_entropy(model(inputs), targets)
            (loss / accumulated).backward()
            sums.append(float(loss.detach()))
            if len(sums) == accumulated:
                optimizer.step()
                optimizer.zero_grad()
                found.append(sum(sums) / accumulated)
                sums = []
    return found
