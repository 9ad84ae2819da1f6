"""The SDK's artifacts of a run -> local files."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from backslide.contract import Artifact
from backslide_detector.store.kept import place_of

FILES: Final = 2_000
FILE_BYTES: Final = 1_000_000_000
_FILE_NAME: Final = re.compile(r"[^/\\\x00]{1,250}\.(?:parquet|json)")


def download(
    uri: str,
    run: Run,
    folder: Path,
    problems: list[str],
    places: Iterable[str],
    *,
    kept: Path | None = None,
) -> dict[str, Path]:
    """The SDK's files, by artifact path; local names are ours, whatever theirs are."""
    repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=uri)
    listed = {item.path: item for item in repository.list_artifacts(Artifact.ROOT)}
    found = [item for item in listed.values() if not item.is_dir]
    for place in places:
        if place in listed:
            found += [item for item in repository.list_artifacts(place) if not item.is_dir]
    if len(found) > FILES:
        problems.append(f"{len(found)} artifacts; only the first {FILES} were read")
    files: dict[str, Path] = {}
    for item in sorted(found, key=lambda item: item.path)[:FILES]:
        base = item.path.rpartition("/")[2]
        if item.path in (Artifact.VERDICT, Artifact.REPORT) or not _FILE_NAME.fullmatch(base):
            continue
        if (item.file_size or 0) > FILE_BYTES:
            problems.append(f"{item.path}: {item.file_size:,} bytes; too large to be read")
            continue
        here = place_of(kept, item.path, item.file_size)
        if here is not None and here.exists():
            files[item.path] = here
            continue
        local = folder / str(len(files))
        local.mkdir()
        file = Path(repository.download_artifacts(item.path, dst_path=str(local)))
        if here is not None:
            here.parent.mkdir(exist_ok=True)
            file = file.replace(here)
        files[item.path] = file
    return files


def below(files: Mapping[str, Path], place: str) -> list[Path]:
    """The files of a folder, in order of their names."""
    return [path for name, path in sorted(files.items()) if name.startswith(place + "/")]


def named(files: Mapping[str, Path], place: str) -> dict[str, Path]:
    """The files of a folder by their own names."""
    start = place + "/"
    return {
        name.removeprefix(start): path for name, path in files.items() if name.startswith(start)
    }
