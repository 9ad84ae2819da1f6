"""Where a run's result comes from: code, environment, seed, parameters, initial weights.

What costs time (git, the list of packages) is gathered off the training thread; nothing here
imports a framework that the user has not imported.
"""

import getpass
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

GIT_SECONDS: Final = 10
SAMPLE: Final = 4_096
"""Elements of each tensor that the digest of the weights looks at."""


def source() -> str:
    """The script, or the module run with `-m`, or what an interactive shell calls itself."""
    main = sys.modules.get("__main__")
    return getattr(main, "__file__", None) or sys.argv[0] or "<interactive>"


def user() -> str:
    """Login name, "unknown" where the system has none (containers with bare user ids)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def seed_stated() -> int | None:
    """The seed that `backslide noise` gave this run, else the one in use."""
    try:
        return int(os.environ["BACKSLIDE_SEED"])
    except (KeyError, ValueError):
        return seed_in_use()


def seed_in_use() -> int | None:
    """The seed of torch's default generator, if torch is loaded and was seeded at all."""
    torch_module = sys.modules.get("torch")
    if torch_module is None:
        return None
    seed = int(torch_module.initial_seed())
    return None if seed == torch_module.Generator().initial_seed() else seed


def environment() -> dict[str, str]:
    """Interpreter, platform and device."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": str(os.cpu_count()),
        "device": "cpu",
    }
    torch_module = sys.modules.get("torch")
    if torch_module is not None and torch_module.cuda.is_initialized():
        found["device"] = torch_module.cuda.get_device_name()
        found["cuda"] = str(torch_module.version.cuda)
    return found


def packages() -> dict[str, str]:
    """Version of every installed distribution, read from the names of its metadata folders."""
    found: dict[str, str] = {}
    for entry in sys.path:
        for folder in sorted(Path(entry or ".").glob("*.dist-info")):
            name, _, version = folder.stem.rpartition("-")
            found.setdefault(name.lower().replace("_", "-"), version)
    return dict(sorted(found.items()))


def git(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository around `folder`, and what differs from it; None without one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _git(folder, "status", "--porcelain") or b""
    diff = _git(folder, "diff", "HEAD") or b""
    return {
        "commit": commit.decode().strip(),
        "dirty": bool(status.strip()),
        "diff_digest": _digest(status, diff) if status.strip() else None,
    }


def _git(folder: Path, *arguments: str) -> bytes | None:
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        # The program is git and the arguments are ours.
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            timeout=GIT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _digest(*pieces: bytes) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        hashed.update(len(piece).to_bytes(8, "little") + piece)
    return hashed.hexdigest()


def weights_digest(model: "torch.nn.Module") -> str:
    """32 hexadecimal digits that recognise a state of the weights and buffers.

    Looks at names, shapes, types and 4,096 elements of each tensor, evenly spread, so that it
    takes milliseconds for a small model and one host copy a tensor for a large one. Shards of a
    distributed tensor are taken as they lie on this rank. Wrappers do not count.
    """
    # Imported here: it needs torch, which a run without a model may not have.
    from backslide.measure.instruments.names import plain, unwrapped  # noqa: PLC0415

    hashed = hashlib.blake2b(digest_size=16)
    for wrapped, tensor in _tensors(unwrapped(model)):
        name = plain(wrapped)
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        flat = local.detach().reshape(-1)
        sample = flat[:: max(1, len(flat) // SAMPLE)][:SAMPLE].contiguous().cpu()
        hashed.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}|".encode(errors="replace"))
        hashed.update(sample.reshape(-1).view(_bytes_type()).numpy().tobytes())
    return hashed.hexdigest()


def _tensors(model: "torch.nn.Module") -> Iterator[tuple[str, "torch.Tensor"]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _bytes_type() -> "torch.dtype":
    return sys.modules["torch"].uint8  # type: ignore[no-any-return]  # modules are untyped


def params_text(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow stores them: nested mappings flattened with dots, values as text."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            nested = params_text(value)
            flat |= {f"{key}.{inner}": text for inner, text in nested.items()}
        else:
            flat[str(key)] = str(value)
    return flat
