"""``GET /v1/stream`` as HTTP: from a request to its refusal, or to the stream that takes its connection over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from math import ceil
from typing import Protocol
from urllib.parse import parse_qsl

from tornado.httputil import HTTPHeaders

from adapters.contract.connect_requests import connect_request
from adapters.contract.json_text import to_json
from adapters.contract.problems import problem_object
from adapters.http.bearer import bearer_token, challenge_of_unauthorized
from adapters.http.cors import answer_headers, preflight_headers
from adapters.http.exchange import Exchange
from adapters.http.messages import RequestHead
from adapters.http.peer import PeerPolicy
from adapters.http.problems import MEDIA_TYPE, MethodNotAllowed, status_of
from adapters.http.streams import Stream
from domain.errors import Forbidden, InvalidArgument, SynkroneError
from domain.model import Disconnect, Problem
from domain.requests import ConnectRequest

TRANSPORT = "sse"

_METHODS = ("GET", "HEAD", "OPTIONS")
_NOT_IN_QUERIES = ("token", "access_token")
_LAST_EVENT_IDS = ("lastEventID", "lastEventId")
"""As clients of Mercure hubs write it; as polyfills do."""


class Defect(SynkroneError):
    code = "internal_server_error"
    title = "The server failed."
    retryable = True


class Desk(Protocol):
    """Who opens streams."""

    def why_closed(self) -> SynkroneError | None:
        """Why no stream is opened at the moment; None where one can be."""

    def requested(self, exchange: StreamRequest, request: ConnectRequest) -> None:
        """A client asks for a stream. Exactly one of ``refuse``, ``turn_away`` and ``take_over`` answers it."""

    def reconnect_delay(self) -> float:
        """Seconds after which whoever is refused for now is to come back."""


class StreamRoute:
    """Every request to the path of the stream."""

    def __init__(self, desk: Desk, peers: PeerPolicy) -> None:
        self._desk = desk
        self._peers = peers

    def open(self, head: RequestHead, exchange: Exchange) -> StreamRequest:
        return StreamRequest(head, exchange, self._desk, self._peers)


class StreamRequest:
    """One request and its answer."""

    def __init__(self, head: RequestHead, exchange: Exchange, desk: Desk, peers: PeerPolicy) -> None:
        self._request = head
        self._query = head.query_values()
        self._http = exchange
        self._desk = desk
        self._peers = peers
        self._is_of_allowed_origin = False

    def data_received(self, chunk: bytes) -> None:
        """Dropped."""

    def finish(self) -> None:
        self._is_of_allowed_origin = self._peers.allows_origin(self._request)
        if self._request.method == "OPTIONS" and self._is_of_allowed_origin:
            self._answer_preflight()
            return
        refusal = self._judge()
        if refusal is not None:
            self.refuse(refusal)
        elif self.is_gone:
            self._http.close()
        else:
            self._desk.requested(self, self._connect_request())

    def body_too_large(self) -> None:
        """Nothing is to be read here, and nothing said of it."""

    def on_connection_close(self) -> None:
        """Before the request was complete: nothing was begun."""

    # for the desk

    @property
    def is_gone(self) -> bool:
        """Whether its client has left."""
        return self._http.is_closed

    def set_close_callback(self, closed: Callable[[], None] | None) -> None:
        """Have it called when the client leaves, who gets no answer any more."""
        self._http.set_close_callback(partial(self._client_left, closed) if closed is not None else None)

    def _client_left(self, closed: Callable[[], None]) -> None:
        self._http.close()
        closed()

    def refuse(self, error: SynkroneError) -> None:
        """Answer with a problem."""
        status = status_of(error)
        headers = HTTPHeaders()
        if status == HTTPStatus.UNAUTHORIZED:
            headers.update([challenge_of_unauthorized(has_credential=bool(self._bearer_token()))])
        elif status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_METHODS)
        if error.retryable and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            headers["Retry-After"] = _whole_seconds(self._desk.reconnect_delay())
        self._answer_problem(status, error.problem, headers)

    def turn_away(self, why: Disconnect) -> None:
        """Answer as a stream would have ended."""
        headers = HTTPHeaders()
        if why.reconnect:
            headers["Retry-After"] = _whole_seconds(why.retry_after.total_seconds())
        status = HTTPStatus.SERVICE_UNAVAILABLE if why.reconnect else HTTPStatus.FORBIDDEN
        self._answer_problem(status, why.problem, headers)

    @property
    def wants_head_only(self) -> bool:
        """Whether it is answered with what a stream would begin with, and with no stream."""
        return self._request.method == "HEAD"

    def answer_head(self) -> None:
        self._respond(HTTPStatus.OK, self._stream_headers(), None)

    def take_over(self) -> tuple[Stream, bytes]:
        """The connection's bytes, out of HTTP's hands, and the head of the answer, still to be written. What has come
        behind the request is dropped.

        The answer ends with the connection, and so needs no chunks (RFC 9112, section 6.3), which HTTP/1.0 has not.
        """
        headers = self._stream_headers()
        headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.get_all())
        head = f"HTTP/1.1 200 OK\r\n{self._http.date_line}{lines}\r\n".encode("latin-1")
        stream, _ = self._http.hand_over()
        return stream, head

    # judging

    def _judge(self) -> SynkroneError | None:
        if not self._is_of_allowed_origin:
            return Forbidden("the origin is not one of those that are allowed")
        if self._request.method not in ("GET", "HEAD"):
            return MethodNotAllowed()
        for name in _NOT_IN_QUERIES:
            if name in self._query:
                return InvalidArgument(name, "belongs in the header Authorization: Bearer, as URLs end up in logs")
        return self._desk.why_closed()

    def _connect_request(self) -> ConnectRequest:
        resumed = self._request.headers.get("Last-Event-ID") or self._last_event_id_of_query()
        cursor = resumed or self._query.get("cursor")
        auth = {"token": self._bearer_token(), "cursor": cursor, "device": self._query.get("device")}
        given = {name: value for name, value in auth.items() if value}
        return connect_request(given, remote_address=self._peers.address(self._request), transport=TRANSPORT)

    def _bearer_token(self) -> str:
        return bearer_token(self._request.headers.get("Authorization", ""))

    def _last_event_id_of_query(self) -> str:
        """What client libraries put there that cannot send the header, and append to a query that may hold one already.

        It counts before ``cursor``, which an application puts there at first and which stays while its client resumes;
        the header counts before it, as only what has read the stream sends that.
        """
        values = [value for name, value in parse_qsl(self._request.target.partition("?")[2]) if name in _LAST_EVENT_IDS]
        return values[-1] if values else ""

    # answering

    def _answer_preflight(self) -> None:
        headers = self._common_headers()
        headers.update(preflight_headers(self._request, allowed=self._is_of_allowed_origin, methods=_METHODS))
        self._respond(HTTPStatus.NO_CONTENT, headers)

    def _answer_problem(self, status: HTTPStatus, problem: Problem, extra: HTTPHeaders) -> None:
        body = to_json(problem_object(problem) | {"status": int(status)})
        headers = self._common_headers(MEDIA_TYPE)
        headers.update(extra)
        self._respond(status, headers, body)

    def _common_headers(self, content_type: str | None = None) -> HTTPHeaders:
        headers = HTTPHeaders({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
        if content_type is not None:
            headers["Content-Type"] = content_type
        headers.update(answer_headers(self._request, allowed=self._is_of_allowed_origin))
        return headers

    def _stream_headers(self) -> HTTPHeaders:
        headers = self._common_headers("text/event-stream")
        # One that compresses holds events back until it has enough of them (RFC 9111, section 5.2.2.6).
        headers["Cache-Control"] = "no-store, no-transform"
        headers["X-Accel-Buffering"] = "no"
        return headers

    def _respond(self, status: HTTPStatus, headers: HTTPHeaders, body: bytes | None = b"") -> None:
        self._http.set_close_callback(None)
        self._http.respond(status, headers.get_all(), body)


def _whole_seconds(seconds: float) -> str:
    return str(max(1, ceil(seconds)))
