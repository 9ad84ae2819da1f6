"""Alembic's entry: migrates over the connection that `migrate` hands in."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="backslide_ledger_version",
)
with context.begin_transaction():
    context.run_migrations()
