"""The database under the ledger: SQLite or PostgreSQL, and what differs between them."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, create_engine, event, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


def now(connection: Connection) -> float:
    """Epoch seconds by the database's clock, which is the one clock all replicas share."""
    clock = (
        "extract(epoch from clock_timestamp())"
        if connection.dialect.name == "postgresql"
        else "(julianday('now') - 2440587.5) * 86400.0"
    )
    return float(connection.execute(select(literal_column(clock))).scalar_one())


def hashed(lineage: str | None) -> str | None:
    """A name may be longer than what a database can index."""
    return None if lineage is None else sha256(lineage.encode()).hexdigest()


def upsert(
    connection: Connection,
    table: Table,
    key: Mapping[str, object],
    values: Mapping[str, object],
    fresh: Mapping[str, object] | None = None,
) -> None:
    """Puts a row in, or changes `values` of the one that has this key."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**key, **values, **(fresh or {}))
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def connect(url: str) -> Engine:
    """An engine for a URL whose database this detector can use.

    Raises:
        ArgumentError: neither SQLite nor PostgreSQL.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.get_backend_name() != "sqlite":
        raise ArgumentError(f"{parsed.get_backend_name()} is not SQLite or PostgreSQL")
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 30.0})

    # The driver's own transactions start late and cannot be upgraded under contention;
    # BEGIN IMMEDIATE takes the write lock at once.
    @event.listens_for(engine, "connect")
    def connected(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # a DBAPI connection
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]  # the same
        connection.execute("PRAGMA synchronous=NORMAL")  # type: ignore[attr-defined]  # the same

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def shown(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def first_line(error: BaseException) -> str:
    """What an error says, without the lines that only its library understands."""
    return str(error).strip().partition("\n")[0]
