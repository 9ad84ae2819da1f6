"""Brings the ledger's schema to the newest version, by Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, func, select

SCRIPTS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_221_904
"""Key of the PostgreSQL advisory lock under which one replica migrates at a time."""


def migrate(engine: Engine, revision: str = "head") -> None:
    """Upgrades to `revision`, in one transaction."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
