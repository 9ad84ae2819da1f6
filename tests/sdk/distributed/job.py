"""One rank of a job on two processes: trains alone, then watched, and says what came of both.

python -m tests.sdk.distributed.job KIND, with torchrun's variables in the environment.
"""

import json
import sys
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from backslide import start

STEPS = 6


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2)
    )
    if kind == "ddp":
        return DistributedDataParallel(model)
    mesh = init_device_mesh("cpu", (2,))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def train(kind: str, *, watched: bool) -> dict[str, object]:
    rank = dist.get_rank()
    model = network(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(100 + rank)  # each rank has data of its own
    inputs = torch.randn(STEPS * 8, 8, generator=generator)
    examples = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    norms = []
    # Both ranks call everything, as scripts for torchrun do.
    run = start(kind, model=model, optimizer=optimizer, overhead=None) if watched else None
    with run or nullcontext():
        for x, y in DataLoader(examples, batch_size=8):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            gradients = [part(each.grad) for each in model.parameters()]
            norms.append(float(torch.stack([each.norm() for each in gradients]).norm()))
            optimizer.step()
            if run is not None:
                run.step(loss=loss)
                run.probe(x, y)
        if run is not None:
            run.evaluate("test", DataLoader(examples, batch_size=16))
    weights = torch.cat([whole(each.detach()).flatten() for each in model.parameters()])
    return {
        "id": run.id if run is not None and rank == 0 else None,
        "norms": norms,
        "weights": weights.double().sum().item(),
        "random": torch.rand(1).item(),
        "faults": dict(run.faults.counts) if run is not None else {},
    }


def main(kind: str) -> None:
    dist.init_process_group("gloo")
    found = {"alone": train(kind, watched=False), "watched": train(kind, watched=True)}
    dist.destroy_process_group()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
