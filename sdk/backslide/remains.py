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
    size = used_bytes(folder) / 1e6
    if offline:
        reason = "BACKSLIDE_OFFLINE is set"
    elif state.asked:
        reason = state.away or "the server is slow"
    else:
        reason = f"the shipper has not got through, see {SHIPPER_LOG} there"
    # Once is enough: who was told that the server is away was told this as well.
    logger.log(
        logging.INFO if state.away and faults.counts["away"] else logging.WARNING,
        "backslide: %.1f MB of this run are not in MLflow yet (%s). They are safe in %s; "
        "`backslide sync %s` ships them.",
        *(size, reason, folder, folder),
    )
