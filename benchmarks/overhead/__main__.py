"""What watching costs, on an MLP, a CNN and a small transformer; writes overhead.md.

    python -m benchmarks.overhead [peers|stages|default ...] [--scale X]

Without arguments all three parts, about fourteen minutes on a quiet machine (peers five, stages
one, default eight); a part that was not measured keeps the figures that it has on the page. The
peers are in requirements.txt beside this folder.
"""

import argparse
import logging
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from benchmarks.overhead import contenders
from benchmarks.overhead.blocks import Estimate, added, race
from benchmarks.overhead.default import SORTS, measure
from benchmarks.overhead.models import MODELS
from benchmarks.overhead.stages import STAGES, stages

PAGE = Path(__file__).parent.with_suffix(".md")
RACE = {"MLP": (60, 10), "CNN": (30, 3), "transformer": (24, 3)}
"""Rounds, and steps of a block."""
LONG = {"MLP": (300, 90, 60), "CNN": (120, 70, 8), "transformer": (100, 60, 6)}
"""Steps of the short job; rounds of the long one, and steps of a block."""
KINDS = {
    "one read": contenders.OneRead,
    "backslide": contenders.Backslide,
    "wandb": contenders.Wandb,
    "TensorBoard": contenders.TensorBoard,
}
TARGETS = {"wandb": 0.30, "TensorBoard": 0.04}
"""What watching may add, as a share of what the peer adds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the rounds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.getLogger("backslide").setLevel(logging.ERROR)  # all of it is offline on purpose
    for part in arguments.parts or PARTS:
        before = os.getloadavg()[0]
        lines = PARTS[part](arguments.scale)
        head = (
            f"torch {torch.__version__}, one thread, {os.cpu_count()} cores "
            f"({platform.machine()}), load average {before:.1f} at the start and "
            f"{os.getloadavg()[0]:.1f} at the end."
        )
        text = "\n".join([head, "", *lines])
        print(text, flush=True)
        _write(part, text)


def peers(scale: float) -> list[str]:
    """Everything watched at every step, beside others."""
    kinds = {name: kind for name, kind in KINDS.items() if kind.possible()}
    rivals = [name for name in TARGETS if name in kinds]
    lines = [
        "| model | clock | bare ms |" + "".join(f" {name} |" for name in kinds),
        "|---|---|---|" + "---|" * len(kinds),
    ]
    shares: dict[tuple[str, str], list[float]] = {}
    for model, make in MODELS.items():
        rounds, size = RACE[model]
        everybody = {"bare": contenders.Contender, **kinds}
        times = race(make, everybody, rounds=max(6, round(rounds * scale)), size=size)
        bare = times["bare"]
        for clock in ("wall", "cpu"):
            extra = {name: added(times[name], bare, clock) for name in kinds}
            for rival in rivals:
                share = extra["backslide"].value / extra[rival].value
                shares.setdefault((rival, clock), []).append(share)
            cells = [model, clock, f"{np.median(getattr(bare, clock)) * 1e3:.1f}"]
            cells += [_percent(extra[name]) for name in kinds]
            lines.append(_row(cells))
    lines += ["", "| added by backslide, as a share of what is added by | clock |"]
    lines[-1] += "".join(f" {model} |" for model in MODELS) + " geometric mean | target |"
    lines.append("|---|---|" + "---|" * len(MODELS) + "---|---|")
    for (rival, clock), each in shares.items():
        mean = float(np.exp(np.mean(np.log(each))))
        cells = [f"{rival} {version(rival.lower())}", clock, *(f"{x:.1%}" for x in each)]
        lines.append(_row([*cells, f"**{mean:.1%}**", f"{TARGETS[rival]:.0%}"]))
    return lines


def by_stage(scale: float) -> list[str]:
    """One snapshot, taken apart."""
    found = {model: stages(make, max(10, round(40 * scale))) for model, make in MODELS.items()}
    rows = {stage: [each[stage] for each in found.values()] for stage in STAGES}
    rows["all of them"] = [sum(each.values()) for each in found.values()]
    return [
        _row(["stage, ms", *MODELS]),
        "|---|" + "---|" * len(MODELS),
        *(_row([name, *(f"{x * 1e3:.2f}" for x in each)]) for name, each in rows.items()),
    ]


def by_default(scale: float) -> list[str]:
    """A short job, and a long one."""
    columns = [
        "model",
        "short job: snapshots",
        "spent in all",
        "long job: step time, wall",
        "cpu",
        "bare over bare",
        "by its own account",
        "of it scalars and unseen",
        "idle `step` p50, p99",
    ]
    lines = [_row(columns), "|---|" + "---|" * (len(columns) - 1)]
    where = ["", _row(["steps of the long job", *MODELS]), "|---|" + "---|" * len(MODELS)]
    parts: dict[str, list[str]] = {sort: [] for sort in SORTS}
    for model, make in MODELS.items():
        short, rounds, size = LONG[model]
        found = measure(make, short=short, rounds=max(5, round(rounds * scale)), size=size)
        cells = [
            model,
            f"{found.snapshots} of {found.steps} steps",
            f"{found.seconds:.2f} s",
            _ratio(found.wall),
            _ratio(found.cpu),
            _ratio(found.control),
            f"{found.account:.2%}",
            f"{found.kept:.2%}",
            f"{found.idle[0] * 1e6:.0f} µs, {found.idle[1] * 1e6:.0f} µs",
        ]
        lines.append(_row(cells))
        for sort, share, more in zip(SORTS, found.shares, found.added, strict=True):
            parts[sort].append(f"{share:.1%} of them, {more:+.1%}: {share * more:+.2%}")
    return lines + where + [_row([sort, *cells]) for sort, cells in parts.items()]


PARTS = {"peers": peers, "stages": by_stage, "default": by_default}


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(share: Estimate) -> str:
    return f"{share.value:+.1%} ({share.low:+.1%} to {share.high:+.1%})"


def _ratio(ratio: Estimate) -> str:
    return f"{ratio.value:.4f} ({ratio.low:.4f} to {ratio.high:.4f})"


def _write(part: str, text: str) -> None:
    """Puts the figures of one part between its marks."""
    mark = f"<!-- {part} -->"
    head, _, tail = PAGE.read_text().partition(mark)
    rest = tail.partition("<!-- end -->")[2]
    PAGE.write_text(f"{head}{mark}\n\n{text}\n\n<!-- end -->{rest}")


if __name__ == "__main__":
    main()
