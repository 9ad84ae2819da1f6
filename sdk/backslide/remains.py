"""What of an ended run is still on disk, in words."""

import logging
from pathlib import Path

from backslide.guard import Faults, logger
from backslide.spool.job import SHIPPER_LOG, RunState
from backslide.spool.segments import used_bytes


def tell_what_remains(folder: Path, state: RunState, *, offline: bool, faults: Faults) -> None:
    """Says what of a run that has ended is still on disk, and what ships it."""
    if not folder.exists():
        return
    size = _size(used_bytes(folder))
    if offline:
        reason = "BACKSLIDE_OFFLINE is set"
    elif state.asked:
        reason = state.away or "the server is slow"
    else:
        reason = f"the shipper has not got through, see {SHIPPER_LOG} there"
    # Once is enough: who was told that the server is away was told this as well.
    logger.log(
        logging.INFO if state.away and faults.counts["away"] else logging.WARNING,
        "backslide: %s of this run are not in MLflow yet (%s). They are safe in %s; "
        "`backslide sync %s` ships them.",
        *(size, reason, folder, folder),
    )


def _size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"
