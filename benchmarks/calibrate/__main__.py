"""Run every simulation and write `results.md` and `results.json` beside this file."""

import platform
import time
from pathlib import Path

from benchmarks.calibrate import alarms, causes, hindsight, levels, streams, verdicts
from benchmarks.calibrate.rates import write
from rich.console import Console
from rich.progress import track

SIMULATIONS = (
    levels.paired,
    levels.unpaired,
    levels.equivalence,
    levels.overdispersed,
    levels.predictive,
    levels.losses,
    streams.ledger,
    streams.overlapping,
    alarms.alerts,
    streams.recipes,
    streams.creeping,
    verdicts.said,
    causes.blamed,
    causes.shifted,
    hindsight.associated,
    verdicts.speed,
)
PREFACE = (
    "Written by `make calibrate`: simulations through the functions that the detector calls, "
    "with fixed seeds. The constants of the alert channel, of the fleet's noise and of the "
    "search for a cause were chosen on these worlds, but with other seeds. Intervals are of "
    "the simulation (Monte Carlo). A target is *missed* when the whole interval lies beyond "
    "it. Exact tests of few discordant examples stay below their level; that is what exact "
    "means, and mid-p tests may pass it a little. Times vary with the machine and with what "
    "else it does: {machine}, {seconds:.0f} CPU seconds in all."
)


def main() -> None:
    """Run all and name the targets that were missed: this measures, it does not judge."""
    figures = []
    for simulation in track(SIMULATIONS, console=Console(stderr=True)):
        begun = time.process_time()
        figures += list(simulation())
        name = f"{simulation.__module__.rpartition('.')[2]}.{simulation.__name__}"
        print(f"{name}: {time.process_time() - begun:.1f} s", flush=True)
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    text = PREFACE.format(machine=machine, seconds=time.process_time())
    write(figures, Path(__file__).parent, text)
    missed = [figure for figure in figures if figure.met is False]
    for figure in missed:
        print(
            f"missed: {figure.table}: {figure.case}: {figure.what} {figure.value:.4g} "
            f"({figure.low:.4g} to {figure.high:.4g}), wanted {figure.target}"
        )


if __name__ == "__main__":
    main()
