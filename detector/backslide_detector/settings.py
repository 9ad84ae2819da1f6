"""The detector's settings: flags, then `BACKSLIDE_*`, then `backslide.toml`."""

import os
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from backslide_detector.errors import UserError

FILE: Final = "backslide.toml"
PREFIX: Final = "BACKSLIDE_"
OTHER_ROOMS: Final = ("sdk", "tracker")
"""Their tables of the file, and their variables (`BACKSLIDE_SDK_...`), are left alone here."""
SDK_VARIABLES: Final = frozenset(
    {
        "BACKSLIDE_ATTRIBUTION",
        "BACKSLIDE_OFFLINE",
        "BACKSLIDE_ON_FAULT",
        "BACKSLIDE_REPEAT",
        "BACKSLIDE_SEED",
        "BACKSLIDE_SPOOL_DIR",
    }
)


class Settings(BaseSettings):
    """Everything the detector can be told.

    Attributes:
        tracking_uri: the MLflow server; `MLFLOW_TRACKING_URI` counts when nothing else is said.
        state: where the ledger lies: a file, a directory, or an SQLAlchemy URL
            (`postgresql+psycopg2://...` lets several detectors share the work).
        every: seconds between two passes.
        margin: differences within +- this fraction count as equivalent; None: half a point
            or a tenth of the old error, whichever is larger.
        false_alarm_every: retrains of a lineage between two false alarms of the alert channel,
            at least and on average.
        experiments: names of the experiments to watch; empty: all.
        metrics: what a metric key of yours means, such as `{"test/error" = "my_err"}`.
        workers: processes that judge; 1: the detector's own.
        webhook_url: where alerts are posted.
        webhook_secret, webhook_secret_file: key of the signature, `whsec_` and base64.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True, validate_default=True
    )

    tracking_uri: str = Field(
        default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI") or "http://127.0.0.1:5000"
    )
    state: str = Field(default_factory=lambda: str(_state_home() / "ledger.db"))
    every: float = Field(default=30.0, ge=1.0, le=86_400.0)
    margin: float | None = Field(default=None, gt=0.0, lt=1.0)
    false_alarm_every: float = Field(default=1_000.0, ge=2.0, le=1e9)
    experiments: Annotated[tuple[str, ...], NoDecode] = ()
    metrics: Mapping[str, str] = Field(default_factory=dict)
    workers: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=256)
    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None
    webhook_secret_file: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # not one of our sources
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, file."""
        return init_settings, env_settings, _Toml(settings_cls)

    @field_validator("tracking_uri")
    @classmethod
    def _http(cls, uri: str) -> str:
        if not uri.startswith(("http://", "https://")):
            raise ValueError("must be the address of an MLflow server (http:// or https://)")
        return uri.rstrip("/")

    @field_validator("state")
    @classmethod
    def _database(cls, state: str) -> str:
        if "://" in state:
            # A bare `postgresql` means psycopg 3 to SQLAlchemy 2.1, which is not installed.
            return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", state)
        path = Path(state).expanduser().absolute()
        return f"sqlite:///{path / 'ledger.db' if path.is_dir() else path}"

    @field_validator("experiments", mode="before")
    @classmethod
    def _names(cls, names: object) -> object:
        """`a,b` is how one writes a list in a variable."""
        if isinstance(names, str):
            return tuple(name.strip() for name in names.split(",") if name.strip())
        return names

    @field_validator("webhook_url")
    @classmethod
    def _destination(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.webhook_secret and self.webhook_secret_file:
            raise ValueError("give webhook_secret or webhook_secret_file, not both")
        return self

    def secret(self) -> str | None:
        """The webhook's signing key, read from its file when it lies in one."""
        if self.webhook_secret_file is not None:
            try:
                return self.webhook_secret_file.read_text().strip()
            except OSError as error:
                raise UserError(f"webhook_secret_file: {error.strerror or error}") from error
        return self.webhook_secret.get_secret_value() if self.webhook_secret else None


class _Toml(TomlConfigSettingsSource):
    """`backslide.toml` in the working directory, without the other rooms' tables."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        values = super()._read_file(file_path)
        if "webhook_secret" in values:
            raise UserError(
                f"{FILE}: a secret does not belong here; use webhook_secret_file or "
                f"{PREFIX}WEBHOOK_SECRET"
            )
        return {key: value for key, value in values.items() if key not in OTHER_ROOMS}


def load(**flags: object) -> Settings:
    """The settings in force; flags that are None were not given.

    Raises:
        UserError: a key is unknown or a value makes no sense, in one line.
    """
    _refuse_unknown_variables()
    given: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UserError(_one_line(error)) from None
    except SettingsError as error:
        raise UserError(f"{error}: it must be JSON") from None
    except TOMLDecodeError as error:
        raise UserError(f"{FILE}: {error}") from None


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | SDK_VARIABLES
    others = tuple(f"{PREFIX}{room.upper()}_" for room in OTHER_ROOMS)
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known and not name.startswith(others):
            raise UserError(f"unknown setting {name} in the environment; {_known()}")


def _one_line(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(place) for place in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {key!r}; {_known()}"
    what = problem["msg"].removeprefix("Value error, ")
    return f"setting {key}: {what}" if key else what


def _known() -> str:
    return "known: " + ", ".join(sorted(Settings.model_fields))


def _state_home() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "backslide"
