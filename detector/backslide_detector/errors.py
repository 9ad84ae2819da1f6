"""What can go wrong in the shell, split by what the caller should do."""


class DetectorError(Exception):
    """Anything this package raises on purpose; its text is one line for people."""


class UserError(DetectorError):
    """Settings or arguments are wrong: mend them and try again."""


class TrackerAwayError(DetectorError):
    """The tracking server did not answer: try again later."""


class TrackerRefusedError(DetectorError):
    """The tracking server understood and said no: the same request will not work later."""


class RunGoneError(TrackerRefusedError):
    """The run was deleted, or never existed."""


class LeaseLostError(DetectorError):
    """Another detector has taken this piece of work over: drop the result."""


class DeliveryError(DetectorError):
    """A channel could not hand an alert over.

    Attributes:
        final: trying again is useless.
        retry_after: seconds the receiver asked to be left alone; None when it did not say.
    """

    def __init__(
        self, reason: str, *, final: bool = False, retry_after: float | None = None
    ) -> None:
        """Keeps the receiver's wishes beside the reason."""
        super().__init__(reason)
        self.final = final
        self.retry_after = retry_after
