"""A file that is made whole or not at all, and never over another one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.store.served import StoreUnusable


class NotMade(StoreUnusable):
    """The message is one line. Nothing was left behind."""


def refuse_existing(target: Path) -> None:
    """Raises NotMade."""
    if target.exists():
        raise _exists(target)


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A file of its own beside the target, for this user alone; it is gone when it has no other name by then.

    Raises NotMade where the target is there or the folder cannot be written.
    """
    part = target.with_name(f".{target.name}-{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise NotMade(f"{target.parent} cannot be written: {error.strerror}") from None
    try:
        yield part
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)


def give_name(part: Path, target: Path) -> None:
    """On the disk when it returns. Raises NotMade where somebody else has the name."""
    _sync(part)
    try:
        os.link(part, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise NotMade(f"{target} cannot be made: {error.strerror}") from None
        # A file system without links.
        if target.exists():
            raise _exists(target) from None
        part.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exists(target: Path) -> NotMade:
    return NotMade(f"{target} exists: it is not written over, name another file")
