"""The `backslide` command: a group whose subcommands are entry points of the three rooms."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import click

COMMANDS = "backslide.commands"


class Rooms(click.Group):
    """Loads a subcommand's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Names of all subcommands, installed or not."""
        return sorted(entry.name for entry in entry_points(group=COMMANDS))

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """The subcommand of that name."""
        found = entry_points(group=COMMANDS, name=cmd_name)
        return _load(next(iter(found))) if found else None

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401  # click's
        """Parses the arguments of the group itself."""
        with _one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # as the base says
        """Parses the arguments of the subcommand and runs it."""
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    """Says a wrong argument in one line; click prints the usage above it."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # its text is the help that was wanted
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "backslide"
        said = " ".join(error.format_message().split()).rstrip(".")
        raise click.UsageError(f"{said}; see `{command} --help`") from error


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as missing:
        if entry.module.startswith("backslide."):
            raise
        return _not_installed(entry, missing)
    assert isinstance(command, click.Command)  # noqa: S101  # a wrong entry point is our bug
    return command


def _not_installed(entry: EntryPoint, missing: ModuleNotFoundError) -> click.Command:
    hint = f"needs `pip install 'backslide[all]'` (no module named {missing.name!r})"

    @click.command(entry.name, context_settings={"ignore_unknown_options": True}, help=hint)
    @click.argument("args", nargs=-1)
    def absent(args: tuple[str, ...]) -> None:  # noqa: ARG001  # whatever was asked for
        raise click.ClickException(f"`backslide {entry.name}` {hint}")

    return absent


@click.group(cls=Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("backslide"), prog_name="backslide")
def main() -> None:
    """Did the retrain get better, or was it luck? And what happened inside?"""


if __name__ == "__main__":
    sys.exit(main())
