"""The data base of an Optuna sweep: its address, which may hold a password, and one line for whatever it raises."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

from utils import UserError, needed, one_line

log = logging.getLogger(__name__)

SAY_AFTER_SECONDS = 5.0
PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "mysqldb": "mysqlclient"}
"""SQLAlchemy's name of a driver -> what pip calls it, where that is another name."""
DAMAGES = (
    sqlalchemy.exc.SQLAlchemyError,
    optuna.exceptions.StorageInternalError,
    *(LookupError, TypeError, ValueError),  # of what is no state, no JSON or no text
)
"""What is raised where a data base cannot be reached or read."""
NO_ADDRESS = "--storage: not the address of a data base; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"


class Database:
    """A data base that any number of workers share."""

    def __init__(self, address: str):
        """Read the address.

        Raises:
            UserError: it is none; what it holds is not shown, as it may be a password.
        """
        try:
            self.url = sqlalchemy.make_url(address)
        except (sqlalchemy.exc.ArgumentError, ValueError):
            raise UserError(NO_ADDRESS) from None
        self.address = address
        self.shown = self.url.set(query={}).render_as_string(hide_password=True)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"

    @property
    def is_in_memory(self) -> bool:
        """Whether no other process sees it."""
        return self.is_sqlite and self.url.database in (None, "", ":memory:")

    @classmethod
    def of_file(cls, path: Path) -> Database:
        """The SQLite data base in a file."""
        return cls(sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string())

    @property
    def file(self) -> Path | None:
        """The file of an SQLite data base; None for a server, and for what is in memory or named by an URI."""
        name = self.url.database if self.is_sqlite else None
        return Path(name) if name and not name.startswith((":", "file:")) else None

    def open(self, patience: int) -> RDBStorage:
        """Connect. A run whose worker was silent for `patience` seconds goes back into the queue, up to three times."""
        dialect = self.url.get_dialect()
        with needed(PACKAGES.get(dialect.driver, dialect.driver), f"--storage {self.shown}"):
            dialect.import_dbapi()
        logging.getLogger("sqlalchemy.pool").setLevel(
            logging.CRITICAL
        )  # its tracebacks say what `asked` says in a line
        try:
            storage = RDBStorage(
                self.address,
                engine_kwargs={"pool_pre_ping": True, "connect_args": self._connect_args()},
                heartbeat_interval=1,  # not read: Heartbeats has its own
                grace_period=patience,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
            )
        except (KeyError, IndexError, ValueError):  # Optuna fills in what is in braces
            raise UserError(NO_ADDRESS) from None
        except RuntimeError as error:  # tables of another version of Optuna
            raise UserError(
                f"--storage {self.shown}: {one_line(error)} Or choose another data base, which is made anew"
            ) from None
        if self.is_sqlite:
            sqlalchemy.event.listen(storage.engine, "begin", _lock_sqlite)
        return storage

    def _connect_args(self) -> dict[str, int]:
        """How long to wait, in seconds: for a file that another worker is writing to, or for a server."""
        if self.is_sqlite:
            return {"timeout": 60}
        return {"connect_timeout": 10} if self.url.get_backend_name() in ("postgresql", "mysql") else {}

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """Around every question: a long wait is said while it lasts, and what goes wrong becomes one line.

        Raises:
            UserError: the data base cannot be reached or used.
        """
        words = f"{self.shown}: no answer for {SAY_AFTER_SECONDS:g} s; another program may have locked it; waiting"
        timer = threading.Timer(SAY_AFTER_SECONDS, log.warning, [words])
        timer.daemon = True
        timer.start()
        try:
            with warnings.catch_warnings():  # Optuna calls heartbeats experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError):
            raise UserError(NO_ADDRESS) from None
        except DAMAGES as error:
            raise UserError(
                f"--storage {self.shown}: cannot be used ({self.reason(error)}); check the address and the server, and "
                "give the same command again"
            ) from None
        finally:
            timer.cancel()

    def reason(self, error: BaseException) -> str:
        """What an error says, without the passwords of the address."""
        text = one_line(error.__cause__ or error)
        secrets = [self.url.password, *(value for key, value in self.url.query.items() if "pass" in key)]
        for secret in filter(None, secrets):
            text = text.replace(str(secret), "***")
        return text


def _lock_sqlite(connection: sqlalchemy.Connection) -> None:
    """Begin a transaction by taking SQLite's lock.

    SQLite has no SELECT ... FOR UPDATE: two workers would both read that a run is waiting, and both take it.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")
