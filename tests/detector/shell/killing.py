"""A process that dies at any chosen step."""

from collections.abc import Iterable


class Killed(BaseException):
    """The process ends here; nothing may catch it."""


def kill_at(count: int, places: Iterable[tuple[object, tuple[str, ...]]], monkeypatch) -> None:
    """Dies at the `count`-th step, just before or just after one of these calls.

    Args:
        count: the step, from 0.
        places: objects, and the names of their methods that leave a trace.
    """
    steps = iter(range(1_000))

    def mortal(call):
        def called(*args, **kwargs):
            if next(steps) == count:
                raise Killed
            result = call(*args, **kwargs)
            if next(steps) == count:
                raise Killed
            return result

        return called

    for owner, names in places:
        for name in names:
            monkeypatch.setattr(owner, name, mortal(getattr(owner, name)))
