"""Finds the checks, hands each the evidence it asks for, and puts the root cause first."""

import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final, assert_never

import numpy as np

from backslide_detector.checks.order import CAUSAL_ORDER, EXPLAINED_BY
from backslide_detector.checks.subject import ARGUMENTS, Subject
from backslide_detector.evidence import RunEvidence
from backslide_detector.finding import Clear, Crashed, Found, Outcome, Result, Severity, Skipped
from backslide_detector.inside.pair import Pair
from backslide_detector.keys import NO_MAPPING

SECTIONS: Final = (
    "What it looks for",
    "Why it matters",
    "What usually causes it",
    "What to do",
    "When it is wrong",
    "References",
)
"""The sections of every check's page, in this order."""


class CheckError(Exception):
    """A check does not keep the rules of this package; the message says where."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check, as found in its module.

    Attributes:
        name: as it appears in `backslide.findings`.
        family: folder it stands in.
        needs: evidence without which it is skipped.
        wants: evidence it takes when there is any.
        page: the module's docstring: a summary line, then `SECTIONS` as headings.
    """

    name: str
    family: str
    function: Callable[..., Found | Clear | Skipped]
    needs: tuple[str, ...]
    wants: tuple[str, ...]
    page: str

    @property
    def summary(self) -> str:
        """First line of the page."""
        return self.page.partition("\n")[0]

    @property
    def usual_cause(self) -> str:
        """That section of the page in one line."""
        section = self.page.partition("What usually causes it:\n")[2].partition("\n\n")[0]
        return " ".join(section.split())


@cache
def load_checks() -> tuple[Check, ...]:
    """All checks of this package, the likeliest root cause first.

    Raises:
        CheckError: a module has no check, a name nobody knows, or unknown evidence.
    """
    package, here = __name__.rpartition(".")[0], str(Path(__file__).parent)
    found = pkgutil.walk_packages([here], f"{package}.")
    depth = package.count(".") + 2  # families are folders, checks the files in them
    names = sorted(item.name for item in found if item.name.count(".") == depth)
    checks = (check_in(importlib.import_module(name)) for name in names)
    return tuple(sorted(checks, key=lambda check: CAUSAL_ORDER.index(check.name)))


def check_in(module: ModuleType) -> Check:
    """The check that a module holds.

    Raises:
        CheckError: see `load_checks`.
    """
    _, family, file = module.__name__.rsplit(".", 2)
    name = file.replace("_", "-")
    where = f"{module.__file__}:1"
    if name not in CAUSAL_ORDER:
        raise CheckError(f"{where}: {name!r} has no place in order.CAUSAL_ORDER")
    function = getattr(module, "check", None)
    if function is None:
        raise CheckError(f"{where}: there is no function check(...)")
    parameters = inspect.signature(function).parameters
    unknown = sorted(set(parameters) - set(ARGUMENTS))
    if unknown:
        line = function.__code__.co_firstlineno
        raise CheckError(
            f"{module.__file__}:{line}: no evidence is called {', '.join(unknown)}; "
            f"there are {', '.join(ARGUMENTS)}"
        )
    wants = tuple(k for k, p in parameters.items() if p.default is not p.empty)
    needs = tuple(k for k in parameters if k not in wants)
    return Check(name, family, function, needs, wants, inspect.getdoc(module) or "")


def run_checks(
    evidence: RunEvidence,
    checks: Iterable[Check] | None = None,
    *,
    mapping: Mapping[str, str] = NO_MAPPING,
    pair: Pair | None = None,
) -> tuple[Result, ...]:
    """Every check's outcome on one run: findings first, the likeliest root cause first.

    Args:
        evidence: the run.
        checks: those to run; all by default.
        mapping: usual metric name -> the run's own key (see `names`).
        pair: the run beside its predecessor, for what changed inside.
    """
    subject = Subject(evidence, mapping, pair)
    chosen = load_checks() if checks is None else tuple(checks)
    results = [Result(check.name, _outcome(check, subject)) for check in chosen]
    return tuple(sorted(_unexplained(results), key=_place))


def backed(results: Iterable[Result]) -> tuple[Result, ...]:
    """The same results where the error or the health bears them out: notes become warnings."""
    raised = [
        replace(result, outcome=replace(found, severity=Severity.WARNING))
        if isinstance(found := result.outcome, Found) and found.severity is Severity.NOTE
        else result
        for result in results
    ]
    return tuple(sorted(raised, key=_place))


def said_once(
    results: Iterable[Result], evidence: RunEvidence, mapping: Mapping[str, str] = NO_MAPPING
) -> tuple[Result, ...]:
    """The same results; how the run is known to fail is said by the first finding alone.

    Args:
        results: of this run, in the order in which they are read.
        evidence: the run.
        mapping: as for `run_checks`.
    """
    with np.errstate(all="ignore"):  # as for the checks
        why = f" {Subject(evidence, mapping).learning.sentence}"
    told, heard = [], False
    for result in results:
        match result.outcome:
            case Found(sentence=said) as found if said.endswith(why):
                kept = replace(found, sentence=said.removesuffix(why)) if heard else found
                told.append(replace(result, outcome=kept))
                heard = True
            case _:
                told.append(result)
    return tuple(told)


def _outcome(check: Check, subject: Subject) -> Outcome:
    """One check's answer; what goes wrong inside it stays inside."""
    try:
        # Broken runs are what checks are for: numbers out of range are evidence, no accident.
        with np.errstate(all="ignore"):
            arguments = {name: getattr(subject, name) for name in (*check.needs, *check.wants)}
            for name in check.needs:
                if arguments[name] is None:
                    return Skipped(ARGUMENTS[name])
            outcome = check.function(**arguments)
            if isinstance(outcome, Found):
                return replace(outcome, usual_cause=check.usual_cause)
            return outcome
    except Exception as error:  # noqa: BLE001 - one faulty check must not cost the other answers
        return Crashed(f"{type(error).__name__}: {error}", traceback.format_exc())


def _unexplained(results: list[Result]) -> Iterator[Result]:
    """The same results, without findings whose evidence another one takes away."""
    found = {r.check for r in results if _stands(r.outcome)}
    for result in results:
        causes = found.intersection(EXPLAINED_BY.get(result.check, ()))
        if causes and _stands(result.outcome):
            cause = min(causes, key=CAUSAL_ORDER.index)
            yield replace(result, outcome=Clear(f"See {cause}, which would look the same."))
        else:
            yield result


def _stands(outcome: Outcome) -> bool:
    """Is it a finding, and more than a note?"""
    return isinstance(outcome, Found) and outcome.severity is not Severity.NOTE


def _place(result: Result) -> tuple[int, int, str]:
    """Sort key: kind of outcome, then the causal order."""
    match result.outcome:
        case Found(severity=Severity.NOTE):
            kind = 1
        case Found():
            kind = 0
        case Crashed():
            kind = 2
        case Clear(note=str()):
            kind = 3
        case Clear():
            kind = 4
        case Skipped():
            kind = 5
        case other:
            assert_never(other)
    known = result.check in CAUSAL_ORDER
    return kind, CAUSAL_ORDER.index(result.check) if known else len(CAUSAL_ORDER), result.check
