"""Extra runs as shell commands, ready to be pasted."""

import json
import shlex
from collections.abc import Sequence

from backslide.contract import Cause
from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Change
from backslide_detector.retrain.attribution import ExtraRun
from backslide_detector.retrain.cause import PACKAGE, changed_kinds

MOST_NAMED = 6
"""Differences of one kind that are named beside a command; the report has them all."""


def commands(
    run: RunEvidence,
    baseline: RunEvidence,
    missing: Sequence[ExtraRun],
    changed: Sequence[Change],
) -> str:
    """Each missing run with what it must be given, and the tag that makes it count."""
    lines = []
    kinds = changed_kinds(changed)
    for number, extra in enumerate(missing, 1):
        times = f", {extra.times} times" if extra.times > 1 else ""
        lines.append(f"# {number}. {extra.why}{times}")
        for kind in kinds:
            source = run if kind in extra.new else baseline
            needed = _ingredients(kind, source, changed, new=kind in extra.new)
            lines += [f"#    {text}" for text in needed]
        code = run if Cause.CODE in extra.new else baseline
        if code.provenance.git_commit and Cause.CODE in kinds:
            lines.append(f"git checkout {shlex.quote(code.provenance.git_commit)}")
        lines += _packages(changed, new=Cause.ENVIRONMENT in extra.new)
        tag = json.dumps({"of": run.run_id, "new": sorted(kind.value for kind in extra.new)})
        script = shlex.quote(run.provenance.source or "train.py")
        command = f"BACKSLIDE_ATTRIBUTION='{tag}' BACKSLIDE_SEED=$RANDOM python {script}"
        if extra.times > 1:
            counted = " ".join(map(str, range(1, extra.times + 1)))
            command = f"for i in {counted}; do {command}; done"
        lines.append(command)
    return "\n".join(lines)


def _packages(changed: Sequence[Change], *, new: bool) -> list[str]:
    """The packages that differ, as one side had them."""
    wanted, gone = [], []
    for change in changed:
        if change.kind is Cause.ENVIRONMENT and change.what.startswith(PACKAGE):
            name, version = change.what.removeprefix(PACKAGE), change.new if new else change.old
            if version is None:
                gone.append(shlex.quote(name))
            else:
                wanted.append(shlex.quote(f"{name}=={version}"))
    return [
        *([f"pip uninstall -y {' '.join(gone)}"] if gone else []),
        *([f"pip install {' '.join(wanted)}"] if wanted else []),
    ]


def _ingredients(
    kind: Cause, source: RunEvidence, changed: Sequence[Change], *, new: bool
) -> list[str]:
    """What a run must be given of one kind, from the recipe that it takes it from."""
    side = "new" if new else "old"
    named = [
        f"{side} {kind.value}: {change.what} = {change.new if new else change.old}"
        for change in changed
        if change.kind is kind and change.shift is None
    ]
    more = [f"and {len(named) - MOST_NAMED} more, as in {source.name}"]
    return named[:MOST_NAMED] + more * (len(named) > MOST_NAMED)
