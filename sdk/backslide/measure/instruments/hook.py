"""What all hooks on a model have in common."""

import contextlib


class Hook:
    """A hook that stays behind when the model is copied.

    A copy (`copy.deepcopy`, `torch.save`) made while the model is watched carries a hook that
    does nothing and needs no backslide to be loaded.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        """Pickles as something of the standard library that takes any call and returns None."""
        return getattr, (contextlib.nullcontext(), "__exit__")
