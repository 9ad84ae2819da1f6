"""Text that every file, database and server on the way takes."""


def storable(value: object) -> str:
    """The value as text without halves of surrogate pairs (UTF-8) and NUL (PostgreSQL)."""
    return str(value).encode(errors="replace").decode().replace("\0", "\ufffd")
