"""Random bytes for names and ids that nobody may guess."""

from __future__ import annotations

import base64
import os
from threading import Lock

_DRAWN_AT_ONCE = 4096


class RandomBytes:
    """The system's (``os.urandom``), some of them drawn at a time.

    In each call of the system's another thread may take the interpreter's lock: while 2,000 clients connected, and the
    store worked in its thread, three calls for each took 210 µs of a connect. One of these takes 0.4 µs.
    """

    def __init__(self) -> None:
        self._one_takes = Lock()
        self._drawn = b""
        self._used = 0
        # A child would take the very bytes that its parent takes.
        os.register_at_fork(after_in_child=self._begin_anew)

    def take(self, number: int) -> bytes:
        """So many that nobody has had."""
        with self._one_takes:
            begin, end = self._used, self._used + number
            if end > len(self._drawn):
                self._drawn, begin, end = os.urandom(max(_DRAWN_AT_ONCE, number)), 0, number
            self._used = end
            return self._drawn[begin:end]

    def _begin_anew(self) -> None:
        self._one_takes = Lock()
        self._drawn, self._used = b"", 0


_of_this_process = RandomBytes()


def random_bytes(number: int) -> bytes:
    """So many that nobody in this process, or in its children, has had."""
    return _of_this_process.take(number)


def random_text(number: int) -> str:
    """So many bytes in the letters of URLs (RFC 4648, section 5), without padding."""
    return base64.urlsafe_b64encode(random_bytes(number)).rstrip(b"=").decode()
