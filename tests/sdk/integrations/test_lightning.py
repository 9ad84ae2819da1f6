"""Lightning's own trainer, with the callback in it."""

import lightning.pytorch as pl
import mlflow
import pytest
import torch
from tests.sdk.integrations.data import examples, loader, losses_by_hand, network
from torch import nn

from backslide.contract import PROBE_SCHEMAS, Role, Tag
from backslide.integrations.lightning import BackslideCallback

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Module(pl.LightningModule):
    """A classifier; `fails_at` raises in the middle of training."""

    def __init__(self, lr: float = 0.1, fails_at: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = network()
        self.fails_at = fails_at

    def forward(self, inputs):
        return self.network(inputs)

    def _loss(self, batch):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch, index):
        if index == self.fails_at:
            raise RuntimeError("the user's own mistake")
        return self._loss(batch)

    def validation_step(self, batch):
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch):
        self.log("test_loss", self._loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])


def trainer(callback: BackslideCallback, **more) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_checkpointing": False, "logger": False}
    return pl.Trainer(
        accelerator="cpu", enable_model_summary=False, callbacks=[callback], **quiet, **more
    )


@pytest.mark.parametrize("accumulated", [1, 3])
def test_a_fit_and_a_test_arrive(accumulated, where, stored):
    callback = BackslideCallback(
        "points", run_name="one line", probe=examples(16, 4).tensors, **where
    )
    fit = trainer(callback, max_epochs=2, accumulate_grad_batches=accumulated)
    module = Module()
    fit.fit(module, loader(48, 1), loader(24, 2))
    fit.test(module, loader(32, 3))
    assert callback.run is not None
    callback.run.finish()
    assert not callback.faults.counts
    assert not callback.run.faults.counts

    found = stored(callback.run.id)
    assert found.run.info.status == "FINISHED"
    assert found.run.info.run_name == "one line"
    assert found.run.data.tags[Tag.LINEAGE] == "points"
    assert found.run.data.params["lr"] == "0.1"
    expected = losses_by_hand(network(), loader(48, 1), epochs=2, accumulated=accumulated)
    assert list(found.steps("loss").values()) == pytest.approx(expected, rel=1e-4)
    assert list(found.steps("val_loss")) == [6 // accumulated, 12 // accumulated]
    assert list(found.steps("train/examples").values()) == [48]
    assert found.steps("val/examples") == {12 // accumulated: 24}
    assert found.steps("test/examples") == {12 // accumulated: 32}
    assert found.steps("test_loss") == pytest.approx(found.steps("test/loss"), rel=1e-4)
    assert found.files("backslide/predictions") == {"val.parquet", "test.parquet"}
    assert found.files("backslide/probe") == {
        *map("{}.parquet".format, PROBE_SCHEMAS),
        "probe.json",
    }
    assert found.roles() == {*Role}


def test_a_probe_that_cannot_be_asked_for_is_said_at_once():
    with pytest.raises(TypeError, match=r"probe takes \(inputs, targets\)"):
        BackslideCallback("points", probe=torch.zeros(16, 4))


def test_a_failing_fit_is_a_failed_run(where, stored):
    callback = BackslideCallback("points", **where)
    with pytest.raises(RuntimeError, match="the user's own mistake"):
        trainer(callback, max_epochs=1).fit(Module(fails_at=2), loader(48, 1))
    assert callback.run is not None
    assert stored(callback.run.id).run.info.status == "FAILED"


def test_an_autologged_run_is_joined(where, stored, mlflow_server):
    mlflow.set_tracking_uri(mlflow_server)
    mlflow.pytorch.autolog(log_models=False)
    callback = BackslideCallback("points", spool_dir=where["spool_dir"])
    try:
        with mlflow.start_run() as active:
            trainer(callback, max_epochs=1).fit(Module(), loader(48, 1), loader(24, 2))
            assert callback.run is not None
            callback.run.finish()
            assert callback.run.id == active.info.run_id
            assert mlflow.active_run() is not None
    finally:
        mlflow.pytorch.autolog(disable=True)
    found = stored(active.info.run_id)
    assert found.run.data.tags[Tag.LINEAGE] == "points"
    assert found.run.data.params["optimizer_name"] == "SGD"
    assert len(found.steps("loss")) == 6


def test_a_fit_stops_when_the_detector_asks_for_it(where, ask_to_stop):
    callback = BackslideCallback("points", on_fault="stop", **where)
    module = Module()
    module.on_train_batch_start = lambda batch, index: (
        ask_to_stop(callback.run) if index == 2 else None
    )
    fit = trainer(callback, max_epochs=2, min_epochs=0)
    fit.fit(module, loader(48, 1))
    assert fit.global_step == 3
