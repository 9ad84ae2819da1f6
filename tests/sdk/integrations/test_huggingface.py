"""Hugging Face's own trainer, with the callback in it."""

import pytest
import torch
from tests.sdk.integrations.data import examples, loader, losses_by_hand, network
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from backslide.contract import Role, Tag
from backslide.integrations.huggingface import BackslideCallback

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Classifier(nn.Module):
    """Answers as transformers' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, inputs, labels=None):
        logits = self.network(inputs)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class SharedLoss(Classifier):
    """Its loss is its batch's share of the step's, as that of recent language models."""

    def forward(self, inputs, labels=None, num_items_in_batch=None):
        found = super().forward(inputs, labels)
        if found.loss is not None and num_items_in_batch is not None:
            found.loss = found.loss * len(inputs) / num_items_in_batch
        return found


def rows(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    return [{"inputs": x, "labels": y} for x, y in examples(count, seed)]


@pytest.mark.parametrize(
    ("model", "accumulated"), [(Classifier, 1), (Classifier, 3), (SharedLoss, 3)]
)
def test_a_train_and_its_evaluations_arrive(model, accumulated, where, stored, tmp_path):
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        run_name="one line",
        num_train_epochs=2,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=accumulated,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        max_grad_norm=0.0,
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=7,
    )
    network_ = model()
    inputs, labels = examples(16, 4).tensors
    callback = BackslideCallback(
        "sentiment", probe=({"inputs": inputs}, labels) if accumulated > 1 else None, **where
    )
    trainer = Trainer(
        network_,
        arguments,
        train_dataset=rows(48, 1),
        eval_dataset=rows(24, 2),
        callbacks=[callback],
        optimizers=(torch.optim.SGD(network_.parameters(), lr=0.1), None),
    )
    trainer.train()
    assert callback.run is not None
    callback.run.finish()
    assert not callback.faults.counts
    assert not callback.run.faults.counts

    found = stored(callback.run.id)
    assert found.run.info.status == "FINISHED"
    assert found.run.info.run_name == "one line"
    tags, params = found.run.data.tags, found.run.data.params
    assert (tags[Tag.LINEAGE], tags[Tag.SEED]) == ("sentiment", "7")
    assert params["learning_rate"] == "0.1"
    assert "output_dir" not in params
    expected = losses_by_hand(network(), loader(48, 1), epochs=2, accumulated=accumulated)
    assert list(found.steps("loss").values()) == pytest.approx(expected, rel=1e-4)
    assert list(found.steps("eval_loss")) == [6 // accumulated, 12 // accumulated]
    assert list(found.steps("train/examples").values()) == [48]
    assert found.steps("eval/examples") == {12 // accumulated: 24}
    assert found.files("backslide/predictions") == {"eval.parquet"}
    if accumulated > 1:
        assert "probe.json" in found.files("backslide/probe")
    assert found.roles() == {*Role}


def test_a_training_stops_when_the_detector_asks_for_it(where, ask_to_stop, tmp_path):
    callback = BackslideCallback("points", on_fault="stop", **where)

    class Asking(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 2:
                ask_to_stop(callback.run)

    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        Classifier(), arguments, train_dataset=rows(48, 1), callbacks=[callback, Asking()]
    )
    trainer.train()
    assert trainer.state.global_step == 3
