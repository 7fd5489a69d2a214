"""The internal listener: where the other nodes and operators reach this one, and clients do not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping, Sequence

from tornado.routing import Router

from adapters.cluster.connecting import probe_when_silent
from adapters.http.binding import UNIX_PREFIX, address_of, bind
from adapters.http.exchange import Route
from adapters.http.listening import Listener
from domain.ports import Clock, Randomness
from entrypoints.binding import cannot_listen
from entrypoints.building.limits import internal_http_limits
from entrypoints.settings import Settings, SettingsError
from entrypoints.tls import Certificate


class InternalPortTaken(SettingsError):
    """Somebody listens there already."""


class Internal:
    """The bound sockets of the internal listener. ``url`` is that of the first; ``address`` is the one by which other
    nodes reach them."""

    def __init__(
        self, settings: Settings, sockets: Sequence[socket.socket], certificate: Certificate, *, inherited: bool
    ) -> None:
        self._settings = settings
        self._inherited = inherited
        self._sockets = sockets
        self.certificate = certificate
        self.url = address_of(sockets[0], scheme="http" if certificate.context is None else "https")
        self.address = settings.node.address or self.url

    @classmethod
    def bound(cls, settings: Settings, inherited: Sequence[socket.socket] = ()) -> Internal | None:
        """On inherited sockets, where there are some; None where the settings want none.

        Raises SettingsError, and InternalPortTaken.
        """
        internal = settings.internal
        if internal.port is None and not inherited:
            return None
        certificate = Certificate(internal.tls, "internal.tls")
        try:
            sockets = list(inherited) or bind(internal.host, internal.port or 0)
        except (OSError, UnicodeError) as error:
            wrong = cannot_listen(internal.host, internal.port or 0, error, "internal.")
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise InternalPortTaken(str(wrong)) from None
            raise wrong from None
        for listening in sockets:
            if not address_of(listening, scheme="http").startswith(UNIX_PREFIX):
                # Links of a node whose machine is gone would stay: most of them wait for a request.
                probe_when_silent(listening)
        return cls(settings, sockets, certificate, inherited=bool(inherited))

    def listener(
        self,
        router: Router,
        routes: Mapping[str, Route],
        *,
        clock: Clock,
        randomness: Randomness,
        taken_over: Callable[[], int] = lambda: 0,
    ) -> Listener:
        listener = Listener(
            self._sockets,
            router,
            routes=routes,
            tls=self.certificate.context,
            limits=internal_http_limits(self._settings),
            taken_over=taken_over,
            give_up_place=lambda: False,
            refuse_at_once=lambda _head: None,
            clock=clock,
            randomness=randomness,
            inherited=self._inherited,
        )
        self.certificate.follow(listener.prove_by)
        return listener

    def close(self) -> None:
        for listening in self._sockets:
            listening.close()
