"""A training job that falls ill and, asked to stop, gets well instead.

    python -m tests.e2e.live_job EXPERIMENT [FAULT]

Prints `run ID`, then a line `WORD STEP SECONDS` for all that happens: `ill`, `asked` (to stop,
after which it is well again) and `released` (no longer asked). Faults that cannot be mended, as
they are there from the start, end the job when it is asked to stop.
"""

import copy
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

import backslide

HEALTHY_STEPS = 150
LIMIT_SECONDS = 150.0


class Training:
    """A small network that learns to do as another one does."""

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.optimizer = torch.optim.Adam(self.model.parameters(), 3e-3)
        self.x = torch.randn(2_000, 16)
        self.y = nn.Linear(16, 4)(self.x).argmax(1)
        self.rows: Callable[[], torch.Tensor] = lambda: torch.randint(1_600, (32,))

    def step(self) -> torch.Tensor:
        picked = self.rows()
        loss = nn.functional.cross_entropy(self.model(self.x[picked]), self.y[picked])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def validation(self) -> dict[str, float]:
        out, y = self.model(self.x[1_600:]), self.y[1_600:]
        loss = nn.functional.cross_entropy(out, y)
        if not loss.isfinite():
            return {}
        error = (out.argmax(1) != y).float().mean()
        return {"val_loss": float(loss), "val/error": float(error)}


@torch.no_grad()
def not_a_number(training: Training) -> None:
    next(training.model.parameters()).fill_(float("nan"))


def too_fast(training: Training) -> None:
    training.optimizer.param_groups[0]["lr"] = 30.0


def still(training: Training) -> None:
    training.optimizer.param_groups[0]["lr"] = 0.0


@torch.no_grad()
def dead(training: Training) -> None:
    next(m for m in training.model if isinstance(m, nn.Linear)).bias.fill_(-100.0)


def one_batch(training: Training) -> None:
    training.rows = lambda: torch.arange(32)


LATER = {"nan": not_a_number, "diverged": too_fast}
FROM_THE_START = {"still": still, "dead": dead, "repeated": one_batch}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fault = sys.argv[2] if len(sys.argv) > 2 else "nan"
    training = Training()
    begin = time.monotonic()
    with backslide.start(
        "live",
        model=training.model,
        optimizer=training.optimizer,
        experiment=sys.argv[1],
        on_fault="stop",
    ) as run:
        while run.id is None:  # it waits ten seconds by itself
            pass
        print(f"run {run.id}", flush=True)
        run.log_data("train", training.x[:1_600], training.y[:1_600])
        step, phase, mended = 0, "healthy", 0

        def tell(word: str) -> None:
            print(f"{word} {step} {time.time()}", flush=True)

        kept = copy.deepcopy(training.model.state_dict())
        if fault in FROM_THE_START:
            FROM_THE_START[fault](training)
            tell("ill")
            phase = "hopeless"
        while time.monotonic() - begin < LIMIT_SECONDS:
            step += 1
            run.step(loss=training.step())
            if step % 50 == 0:
                run.log(**training.validation())
            time.sleep(0.005)
            match phase:
                case "healthy" if step == HEALTHY_STEPS:
                    kept = copy.deepcopy(training.model.state_dict())
                    LATER[fault](training)
                    tell("ill")
                    phase = "ill"
                case "hopeless" if step == 100:
                    tell("evident")
                case "hopeless" if run.should_stop:
                    tell("asked")
                    return
                case "ill" if run.should_stop:
                    tell("asked")
                    training.model.load_state_dict(kept)
                    training.optimizer.state.clear()
                    training.optimizer.param_groups[0]["lr"] = 3e-3
                    phase, mended = "well", step
                # As long again as it took, so that what was is no longer what is.
                case "well" if not run.should_stop and step > 3 * mended:
                    tell("released")
                    return
        raise SystemExit(3)


if __name__ == "__main__":
    main()
