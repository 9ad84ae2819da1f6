"""Run every simulation and write `results.md` and `results.json` beside this file.

`python -m benchmarks.calibrate trends` runs those of one module again and keeps the others'
figures.
"""

import platform
import sys
import time
from pathlib import Path

from benchmarks.calibrate import (
    alarms,
    amounts,
    causes,
    hindsight,
    levels,
    means,
    parts,
    slices,
    streams,
    trends,
    verdicts,
)
from benchmarks.calibrate.rates import renewed, write
from rich.console import Console
from rich.progress import track

SIMULATIONS = (
    levels.paired,
    levels.least,
    levels.unpaired,
    levels.equivalence,
    levels.overdispersed,
    levels.predictive,
    means.paired,
    means.unpaired,
    means.linearised,
    means.labels,
    means.detectable,
    slices.given,
    slices.discovered,
    parts.told,
    streams.ledger,
    streams.overlapping,
    alarms.alerts,
    streams.recipes,
    streams.creeping,
    verdicts.said,
    causes.blamed,
    causes.shifted,
    hindsight.associated,
    amounts.doubled,
    trends.trendless,
    trends.scheduled,
    trends.fading,
    trends.networks,
    trends.depths,
    verdicts.speed,
)
PREFACE = (
    "Written by `make calibrate`: simulations through the functions that the detector calls, "
    "with fixed seeds. The constants of the alert channel, of the fleet's noise and of the "
    "search for a cause were chosen on these worlds, but with other seeds. Intervals are of "
    "the simulation (Monte Carlo). A target is *missed* when the whole interval lies beyond "
    "it. Exact tests of few discordant examples stay below their level; that is what exact "
    "means, and mid-p tests may pass it a little. Times vary with the machine and with what "
    "else it does: {machine}."
)


def main(modules: list[str]) -> None:
    """Run all and name the targets that were missed: this measures, it does not judge."""
    chosen = [run for run in SIMULATIONS if not modules or _module(run) in modules]
    figures = []
    for simulation in track(chosen, console=Console(stderr=True)):
        begun = time.process_time()
        figures += list(simulation())
        seconds = time.process_time() - begun
        print(f"{_module(simulation)}.{simulation.__name__}: {seconds:.1f} s", flush=True)
    home = Path(__file__).parent
    everything = renewed(home, figures) if modules else figures
    write(everything, home, PREFACE.format(machine=_machine()))
    missed = [figure for figure in figures if figure.met is False]
    for figure in missed:
        print(
            f"missed: {figure.table}: {figure.case}: {figure.what} {figure.value:.4g} "
            f"({figure.low:.4g} to {figure.high:.4g}), wanted {figure.target}"
        )


def _module(simulation) -> str:
    return simulation.__module__.rpartition(".")[2]


def _machine() -> str:
    return f"{platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main(sys.argv[1:])
