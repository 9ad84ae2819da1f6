"""What differs between two runs, and what of it may explain the difference in error."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from backslide.contract import Cause, Verdict
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import DataSummary, RunEvidence
from backslide_detector.judgement import Change
from backslide_detector.retrain.history import PARAMETER, SEED_NAMES, unseeded

KINDS = (Cause.DATA, Cause.CONFIG, Cause.CODE, Cause.ENVIRONMENT)
"""What a person can change, in the order in which it usually explains a retrain."""

NAMED = 3
"""Changes that are named as places to look at first."""
SHORT = 24
"""Characters of a value in a sentence."""

_WORDS = {kind: kind.value for kind in KINDS} | {Cause.CONFIG: "settings"}

PACKAGE = "package "
"""Before the name of a package that differs."""


def changes(new: RunEvidence, old: RunEvidence) -> tuple[Change, ...]:
    """Everything that is known to differ between two runs, by kind.

    Something that only one of the runs stated counts as a change with `None` on the other side,
    unless that run stated nothing of the sort at all: silence is no difference.
    """
    return (
        *_data_changes(new.data, old.data),
        *_config_changes(new.params, old.params),
        *_code_changes(new, old),
        *_mapping_changes(
            Cause.ENVIRONMENT, PACKAGE, new.provenance.packages, old.provenance.packages
        ),
        *_mapping_changes(
            Cause.ENVIRONMENT, "", new.provenance.environment, old.provenance.environment
        ),
        *_seed_changes(new, old),
    )


def causes(
    verdict: Verdict,
    changed: Sequence[Change],
    model: Estimand,
    *,
    beyond_noise: bool | None,
    striking: bool,
    provenance_known: bool,
) -> tuple[Cause, ...]:
    """What may have caused the difference, most likely first.

    A cause is a claim about recipes, so retrain noise decides: a difference within it is noise
    however clear it is between the two models, and one beyond it is not. Where the noise is not
    known the cause is not either, unless the difference is larger than luck is ever presumed
    to be; then the changes are named before luck. Only kinds that differ are named. Two runs
    cannot separate kinds that changed together: all are named, and `advice_on_causes` says what
    would separate them.

    Args:
        verdict: of the retrain.
        changed: what differs.
        model: the difference between the two models.
        beyond_noise: whether the difference exceeds the noise between retrains; None: unknown.
        striking: whether it is larger than luck is presumed to be.
        provenance_known: whether the runs said what they were made from.
    """
    if verdict in (Verdict.FIRST, Verdict.NONE):
        return ()
    kinds = changed_kinds(changed)
    if beyond_noise is not None:
        return (kinds or (Cause.UNKNOWN,)) if beyond_noise else (Cause.NOISE,)
    if provenance_known and not kinds and not striking:
        return (Cause.NOISE,)
    shown = model.pvalue is not None and model.pvalue < 0.05
    if not shown:
        return (Cause.NOISE,) if verdict is Verdict.EQUIVALENT else (Cause.UNKNOWN,)
    return (*kinds, Cause.NOISE) if kinds and striking else (Cause.UNKNOWN,)


def advice_on_causes(
    cause: Sequence[Cause],
    changed: Sequence[Change],
    *,
    beyond_noise: bool | None,
    run_id: str = "RUN",
) -> str | None:
    """The reruns that would settle the cause; None when nothing is open."""
    kinds = changed_kinds(changed)
    if not cause or cause[0] is Cause.NOISE:
        return None
    if not kinds and beyond_noise:
        return (
            "The difference is more than luck, but nothing is known to have changed: log what "
            "the runs are made from (run.log_data for each data set, params, a committed tree)."
        )
    if not kinds:
        return (
            "Log what the runs are made from (backslide.start with params, run.log_data), "
            "so that the next verdict can name a cause."
        )
    names = [_WORDS[kind] for kind in kinds]
    commands = f"`backslide attribute {run_id}` prints the runs that tell"
    if len(names) > 1:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        first = "" if beyond_noise else "both recipes with three fresh seeds, then "
        return f"{commands} {listed} apart: {first}the old recipe with one changed at a time."
    if not beyond_noise:
        return (
            f"{commands} {names[0]} from luck: three fresh seeds of both recipes. If the gap "
            f"stays, {names[0]} is the cause."
        )
    return None


def look_first(cause: Sequence[Cause], changed: Sequence[Change]) -> str | None:
    """Where to look for what made a model worse; None where no change is named as the cause."""
    found = [change for change in changed if cause and change.kind is cause[0]]
    if not found or found[0].kind is Cause.NOISE:
        return None
    named = [
        f"{change.what} ({_side(change.old)} → {_side(change.new)})" for change in found[:NAMED]
    ]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"Look at the {_WORDS[found[0].kind]} first: {', '.join(named)}{more}."


def _side(value: str | None) -> str:
    """One side of a change, cut to what tells it apart."""
    if value is None:
        return "absent"
    return value if len(value) <= SHORT else f"{value[:SHORT]}…"


def changed_kinds(changed: Sequence[Change]) -> tuple[Cause, ...]:
    """The kinds that differ, apart from the seed, usual suspects first."""
    present = {change.kind for change in changed}
    return tuple(kind for kind in KINDS if kind in present)


def provenance_known(run: RunEvidence) -> bool:
    """True when a run said what it was made from: its code or its data."""
    return bool(run.provenance.git_commit or run.data)


def _data_changes(
    new: Mapping[str, DataSummary], old: Mapping[str, DataSummary]
) -> list[Change]:
    """Data sets whose digest, version, size or class counts differ."""
    if not new or not old:
        return []
    found: list[Change] = []
    for name in sorted(new.keys() | old.keys()):
        ours, theirs = new.get(name), old.get(name)
        if ours is None or theirs is None:
            found.append(
                Change(
                    Cause.DATA,
                    f"data set {name}",
                    None if theirs is None else theirs.digest,
                    None if ours is None else ours.digest,
                )
            )
            continue
        if ours.digest != theirs.digest:
            found.append(Change(Cause.DATA, f"{name} content", theirs.digest, ours.digest))
        if ours.version != theirs.version:
            found.append(Change(Cause.DATA, f"{name} version", theirs.version, ours.version))
        if ours.rows != theirs.rows and ours.rows is not None and theirs.rows is not None:
            found.append(Change(Cause.DATA, f"{name} rows", str(theirs.rows), str(ours.rows)))
        if ours.class_counts and theirs.class_counts:
            found += _mapping_changes(
                Cause.DATA,
                f"{name} examples of class ",
                {k: str(v) for k, v in ours.class_counts.items()},
                {k: str(v) for k, v in theirs.class_counts.items()},
            )
    return found


def _config_changes(new: Mapping[str, str], old: Mapping[str, str]) -> list[Change]:
    """Parameters that differ, the seed left out."""
    return _mapping_changes(Cause.CONFIG, PARAMETER, unseeded(new), unseeded(old))


def _code_changes(new: RunEvidence, old: RunEvidence) -> list[Change]:
    """Commit, uncommitted changes and entry point."""
    ours, theirs = new.provenance, old.provenance
    pairs = [
        ("git commit", theirs.git_commit, ours.git_commit),
        ("uncommitted changes", theirs.git_diff_digest, ours.git_diff_digest),
        ("source", _file_name(theirs.source), _file_name(ours.source)),
    ]
    known = ours.git_commit is not None and theirs.git_commit is not None
    found = [
        Change(Cause.CODE, what, before, after)
        for what, before, after in pairs
        # Without a diff digest on either side, absence of changes and silence look the same.
        if before != after and (before and after if what != "uncommitted changes" else known)
    ]
    words = {True: "with uncommitted changes", False: "clean", None: None}
    before, after = words[theirs.git_dirty], words[ours.git_dirty]
    if known and not found and before and after and before != after:
        found.append(Change(Cause.CODE, "working tree", before, after))
    return found


def _file_name(source: str | None) -> str | None:
    """The entry point without the folder: a job's folder differs from machine to machine."""
    return None if source is None else PurePath(source).name


def _seed_changes(new: RunEvidence, old: RunEvidence) -> list[Change]:
    """The seed, from provenance or from a parameter of that name."""
    ours, theirs = _seed(new), _seed(old)
    if ours == theirs or ours is None or theirs is None:
        return []
    return [Change(Cause.NOISE, "seed", theirs, ours)]


def _mapping_changes(
    kind: Cause, prefix: str, new: Mapping[str, str], old: Mapping[str, str]
) -> list[Change]:
    """Entries that differ between two mappings that were both stated."""
    if not new or not old:
        return []
    return [
        Change(kind, f"{prefix}{key}", old.get(key), new.get(key))
        for key in sorted(new.keys() | old.keys())
        if new.get(key) != old.get(key)
    ]


def _seed(run: RunEvidence) -> str | None:
    """The seed a run stated, wherever it did."""
    if run.provenance.seed is not None:
        return run.provenance.seed
    return next((v for k, v in sorted(run.params.items()) if k.lower() in SEED_NAMES), None)
