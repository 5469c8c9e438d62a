"""What the host says when it does not do what was asked; ``app`` gives all of it one JSON shape."""

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SQLITE_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class RefusedError(Exception):
    """A request that is not served.

    Attributes:
        status: of the HTTP answer.
        code: one word for programs.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code = status, code
        super().__init__(message)


class HostError(Exception):
    """The host cannot start or go on: its files do not fit together, or its settings contradict each other."""


def not_found() -> RefusedError:
    """The same answer for what is not there and for what the caller may not see."""
    return RefusedError(404, "not-found", "there is nothing here for this card")


def disk_full() -> RefusedError:
    """Nothing was acknowledged, nothing is half-written; the same request works once there is space."""
    return RefusedError(507, "disk-full", "the host's disk is full: nothing was stored, try again later")


def means_disk_full(error: BaseException) -> bool:
    """Whether an error of the file system or the database says that no more can be written."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if isinstance(error, DBAPIError):
        code = getattr(error.orig, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _SQLITE_FULL
    return False
