"""A loop written with accelerate, with the tracker in it."""

import pytest
import torch
from accelerate import Accelerator
from tests.sdk.integrations.data import examples, loader, losses_by_hand, network
from torch import nn

from backslide.contract import PROBE_SCHEMAS, Role, Tag
from backslide.integrations.accelerate import BackslideTracker

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("accumulated", [1, 3])
def test_a_loop_arrives(accumulated, where, stored):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = examples(16, 4).tensors
    tracker = BackslideTracker("points", model, optimizer, probe=probe, **where)
    accelerator = Accelerator(
        cpu=True, log_with=tracker, gradient_accumulation_steps=accumulated
    )
    accelerator.init_trackers("ignored", config={"lr": 0.1})
    model, optimizer, batches = accelerator.prepare(model, optimizer, loader(48, 1))
    sums = []
    for inputs, targets in batches:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(inputs), targets)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        sums.append(loss.detach())
        if accelerator.sync_gradients:
            accelerator.log({"loss": torch.stack(sums).mean()}, step=1_000)
            sums = []
    run = accelerator.get_tracker("backslide", unwrap=True)
    run.evaluate("test", loader(32, 2))
    accelerator.end_training()
    assert not run.faults.counts
    assert not tracker.faults.counts

    found = stored(run.id)
    assert found.run.info.status == "FINISHED"
    assert found.run.data.tags[Tag.LINEAGE] == "points"
    assert found.run.data.params == {"lr": "0.1"}
    expected = losses_by_hand(network(), loader(48, 1), epochs=1, accumulated=accumulated)
    recorded = found.steps("loss")
    assert list(recorded) == list(range(1, 6 // accumulated + 1))
    assert list(recorded.values()) == pytest.approx(expected, rel=1e-4)
    assert found.steps("test/examples") == {6 // accumulated: 32}
    assert found.files("backslide/probe") == {
        *map("{}.parquet".format, PROBE_SCHEMAS),
        "probe.json",
    }
    assert found.roles() == {*Role}
