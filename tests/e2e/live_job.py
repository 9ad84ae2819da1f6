"""A training job that falls ill, is asked to stop, and gets well instead.

Prints `run ID`, then a line `WORD STEP SECONDS` for all that happens: `ill`, `asked` (to stop,
after which it is well again) and `released` (no longer asked).
"""

import copy
import sys
import time

import torch
from torch import nn

import backslide

HEALTHY_STEPS = 150
LIMIT_SECONDS = 150.0


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    teacher = nn.Linear(16, 4)
    begin = time.monotonic()
    with backslide.start(
        "live", model=model, optimizer=optimizer, experiment=sys.argv[1], on_fault="stop"
    ) as run:
        while run.id is None:  # it waits ten seconds by itself
            pass
        print(f"run {run.id}", flush=True)
        step, phase, mended = 0, "healthy", 0

        def tell(word: str) -> None:
            print(f"{word} {step} {time.time()}", flush=True)

        kept = copy.deepcopy(model.state_dict())
        while time.monotonic() - begin < LIMIT_SECONDS:
            step += 1
            x = torch.randn(32, 16)
            loss = nn.functional.cross_entropy(model(x), teacher(x).argmax(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.step(loss=loss)
            time.sleep(0.005)
            match phase:
                case "healthy" if step == HEALTHY_STEPS:
                    kept = copy.deepcopy(model.state_dict())
                    fall_ill(model)
                    tell("ill")
                    phase = "ill"
                case "ill" if run.should_stop:
                    tell("asked")
                    model.load_state_dict(kept)
                    optimizer.state.clear()
                    phase, mended = "well", step
                # As long again as it took, so that what was is no longer what is.
                case "well" if not run.should_stop and step > 3 * mended:
                    tell("released")
                    return
        raise SystemExit(3)


@torch.no_grad()
def fall_ill(model: nn.Module) -> None:
    next(model.parameters()).fill_(float("nan"))


if __name__ == "__main__":
    main()
