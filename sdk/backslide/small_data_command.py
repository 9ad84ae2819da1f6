"""`backslide small-data`: the small-data test from a terminal.

Beside the package, not in it: the command is listed and explained where torch is not installed.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

if TYPE_CHECKING:
    from backslide.smalldata import SmallDataVerdict

PARTS: Final = ("model_fn", "opt_fn", "step_fn", "train", "heldout")


@click.command("small-data")
@click.argument("target", metavar="MODULE:FUNCTION")
@click.option("--per-class", type=click.IntRange(1), help="Examples of each class to memorise.")
@click.option("--steps", type=click.IntRange(1), help="Steps for memorising.")
@click.option(
    "--expect-frozen",
    multiple=True,
    metavar="NAME",
    help="Parameters or modules that may stay as they are, as shell patterns; repeatable.",
)
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    metavar="URI",
    help="Also keep the verdict in MLflow; default: MLFLOW_TRACKING_URI, else nowhere.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
def small_data(  # noqa: PLR0917  # the options of the command, as they come
    target: str,
    per_class: int | None,
    steps: int | None,
    expect_frozen: tuple[str, ...],
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Tell a code defect from a data defect in seconds.

    MODULE:FUNCTION returns what small_data_test takes: a mapping with model_fn, opt_fn,
    step_fn, train and heldout, or a tuple of them in this order. A mapping may hold
    per_class, steps and expect_frozen too; options win.

    With a tracking server, the verdict is kept in a run of its own (in MLFLOW_EXPERIMENT_NAME,
    if that is set), or in the run that MLFLOW_RUN_ID names.

    Exits with 0 if nothing was found, 1 if something was, 2 if the test could not be run.
    """
    function = _load(target)
    given = {"per_class": per_class, "steps": steps, "expect_frozen": expect_frozen or None}
    options = {name: value for name, value in given.items() if value is not None}
    try:
        from backslide.smalldata import small_data_test  # noqa: PLC0415  # imports torch
    except ModuleNotFoundError as missing:
        raise click.UsageError(
            f"the small-data test needs {missing.name}; install it beside backslide"
        ) from missing
    parts = {**_parts(function(), target), **options}
    if sys.stderr.isatty():
        click.echo("memorising a few examples ...", err=True)
    try:
        verdict = small_data_test(**parts)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{target}: {error}") from error
    click.echo(json.dumps(verdict.to_dict()) if as_json else str(verdict))
    if tracking_uri:
        _keep(verdict, tracking_uri, target)
    raise SystemExit(0 if verdict.ok else 1)


def _keep(verdict: "SmallDataVerdict", uri: str, target: str) -> None:
    """Into MLflow; a server that is away changes no verdict."""
    from backslide.smalldata.record import send  # noqa: PLC0415  # imports torch

    named = os.environ.get("MLFLOW_RUN_ID", "")
    try:
        run = send(verdict, uri, run_id=named, name=f"small-data {target}")
    except (ValueError, OSError, subprocess.SubprocessError) as error:
        click.echo(f"the verdict is not in MLflow: {error}", err=True)
    else:
        click.echo(f"kept in run {run} on {uri}", err=True)


def _load(target: str) -> Callable[[], object]:
    module_name, colon, function_name = target.partition(":")
    if not (module_name and colon and function_name):
        raise click.UsageError(f"{target!r} is not of the form MODULE:FUNCTION")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        raise click.UsageError(f"no module named {missing.name!r}") from missing
    function = getattr(module, function_name, None)
    if not callable(function):
        raise click.UsageError(f"{module_name} has no function {function_name!r}")
    return cast("Callable[[], object]", function)


def _parts(returned: object, target: str) -> dict[str, Any]:
    if isinstance(returned, tuple | list) and len(returned) == len(PARTS):
        return dict(zip(PARTS, returned, strict=True))
    if isinstance(returned, Mapping):
        parts = {str(name): part for name, part in returned.items()}
        missing = [name for name in PARTS if name not in parts]
        unknown = sorted(parts.keys() - {*PARTS, "per_class", "steps", "expect_frozen"})
        if not missing and not unknown:
            return parts
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise click.UsageError(f"what {target} returned {what}")
    raise click.UsageError(f"{target} must return a mapping or tuple of {', '.join(PARTS)}")
