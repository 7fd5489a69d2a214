"""HTTP/1.1 requests, without I/O: reading a head, and how long the body is that it announces (RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import unquote_plus

import httptools

MAX_HEADER_LINES = 100
MAX_EMPTY_LINES = 4
"""That are passed over before a request line. RFC 9112, section 2.2, wants one."""

_LENGTH_DIGITS = 15

MAX_QUERY_FIELDS = 100
"""Each is read by whoever wants any of them: a line full of them would take 10 ms."""

_REQUEST_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.([0-9])\r\n")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?")
_HUGE_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*[0-9]{16,}[ \t]*\r\n", re.IGNORECASE)


class BadRequest(Exception):
    """A message that is not as HTTP/1.1 wants it, or larger than it may be. ``reason`` is for the log."""

    def __init__(self, reason: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Headers(Mapping[str, str]):
    """The header fields of one request, by names that know no case; values are latin-1 text (RFC 9110, section 5.5)."""

    __slots__ = ("_by_name", "_fields")

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields
        # A request is asked for a dozen of its fields.
        self._by_name: dict[str, list[str]] = {}
        for name, value in fields:
            self._by_name.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        """The value, or all of them joined by commas (section 5.3)."""
        values = self.get_list(name)
        if not values:
            raise KeyError(name)
        return values[0] if len(values) == 1 else ",".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def get_list(self, name: str) -> list[str]:
        return self._by_name.get(name.lower(), [])

    def get_all(self) -> Iterator[tuple[str, str]]:
        """Each field as it came, with its name in lower case."""
        return iter(self._fields)

    def words(self, name: str) -> list[str]:
        """A field that is a list of words (section 5.6.1), in lower case."""
        return [word.strip().lower() for word in self.get(name, "").split(",")]


class RequestHead:
    """A request line and its header fields. ``target`` is in origin form, whatever form it came in.

    ``host`` is that of an absolute target, else of the field. ``content_length`` is None for a chunked body, and 0 for
    none.
    """

    __slots__ = (
        "content_length",
        "headers",
        "host",
        "keep_alive",
        "method",
        "protocol",
        "remote_ip",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        headers: Headers,
        *,
        host: str,
        content_length: int | None,
        keep_alive: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.host = host
        self.content_length = content_length
        self.keep_alive = keep_alive
        self.remote_ip = ""
        self.protocol = "http"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def query_values(self) -> dict[str, str]:
        """The parameters of the target, decoded; of one that is given more than once, the first."""
        values: dict[str, str] = {}
        for pair in self.target.partition("?")[2].split("&"):
            name, _, value = pair.partition("=")
            values.setdefault(unquote_plus(name), unquote_plus(value))
        return values

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for leave to send its body (RFC 9110, section 10.1.1)."""
        return self.version == "HTTP/1.1" and self.headers.get("expect", "").lower() == "100-continue"


class _Fields:
    """What httptools finds in a head."""

    __slots__ = ("fields", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")))


class HeadReader:
    """Finds the next head in what has come. Of a head that is not complete it looks at nothing twice.

    What it refuses depends on where the first fault lies, and not on the pieces in which the octets came.
    """

    __slots__ = ("_empty_lines", "_looked_at", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._looked_at = 0
        self._empty_lines = 0

    def skip_empty_lines(self, buffer: bytes) -> int:
        """How many octets of empty lines precede the next head (section 2.2). Raises BadRequest where they are too
        many."""
        skipped = 0
        while buffer.startswith(b"\r\n", skipped):
            skipped += 2
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise BadRequest("nothing but empty lines")
        if skipped:
            self._looked_at = 0
        return skipped

    def end_of_head(self, buffer: bytes) -> int:
        """Where the head at the beginning ends; 0 where it is not complete. Raises BadRequest.

        Lines end with CRLF: what takes a bare LF for an end too may see other requests than a proxy before it did.
        """
        end = buffer.find(b"\r\n\r\n", max(0, self._looked_at - 3)) + 4
        is_complete = 3 < end <= self._max_bytes
        self._check_lines(buffer, end if is_complete else min(len(buffer), self._max_bytes), is_complete=is_complete)
        if is_complete:
            self._looked_at = self._empty_lines = 0
            return end
        if len(buffer) >= self._max_bytes:
            if buffer.find(b"\n", 0, self._max_bytes) < 0:
                raise BadRequest("the request line is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
            raise BadRequest("the head is too large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return 0

    def _check_lines(self, buffer: bytes, end: int, *, is_complete: bool) -> None:
        start, self._looked_at = self._looked_at, end
        lines = buffer.count(b"\n", start, end)
        if not lines:
            return
        # Beside those of the header there are the request line and, in the end, an empty one.
        most = MAX_HEADER_LINES + 1 + is_complete
        if lines != buffer.count(b"\r\n", max(0, start - 1), end) or buffer.count(b"\n", 0, end) > most:
            raise _fault_of_lines(buffer, end)


def _fault_of_lines(buffer: bytes, end: int) -> BadRequest:
    """Which comes first: a line that ends wrongly, or one too many."""
    position = -1
    for _ in range(MAX_HEADER_LINES + 2):
        position = buffer.find(b"\n", position + 1, end)
        if buffer[max(0, position - 1) : position] != b"\r":
            return BadRequest("a line that ends with LF alone")
    return BadRequest("too many header lines", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


def parse_head(octets: bytes) -> RequestHead:
    """Read a complete head. Raises BadRequest.

    What httptools lets pass and a stricter reader does not is refused here: other versions, several spaces in the
    request line (section 3), and every way in which a body's end could be told in two ways (section 6.3).
    """
    line = _REQUEST_LINE.match(octets)
    if line is None:
        raise _bad_request_line(octets)
    if line[1] > b"1":
        # A later version of HTTP/1 is read as the one that is known (RFC 9110, section 2.5).
        octets = octets[: line.start(1)] + b"1" + octets[line.end(1) :]
    found = _Fields()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(octets)
    except httptools.HttpParserUpgrade:
        # The body of such a request is framed as any other.
        pass
    except httptools.HttpParserInvalidMethodError:
        raise BadRequest("an unknown method", HTTPStatus.NOT_IMPLEMENTED) from None
    except httptools.HttpParserError as error:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if _HUGE_LENGTH.search(octets) else HTTPStatus.BAD_REQUEST
        raise BadRequest(str(error), status) from None
    headers = Headers(found.fields)
    version = f"HTTP/{parser.get_http_version()}"
    method = parser.get_method().decode()
    target, authority = _origin_form(method, found.url.decode("latin-1"))
    return RequestHead(
        method,
        target,
        version,
        headers,
        host=_host(headers, authority, version),
        content_length=_content_length(headers, version),
        keep_alive=_keeps_alive(headers, version),
    )


def _bad_request_line(octets: bytes) -> BadRequest:
    line = octets.partition(b"\r\n")[0]
    version = line.rpartition(b" ")[2]
    if re.fullmatch(rb"HTTP/[0-9]\.[0-9]", version) and not version.startswith(b"HTTP/1."):
        return BadRequest("another version of HTTP", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    return BadRequest("a malformed request line")


def _origin_form(method: str, target: str) -> tuple[str, str | None]:
    """The target in origin form, and the authority of one in absolute form (section 3.2)."""
    if target.count("&") >= MAX_QUERY_FIELDS:
        raise BadRequest("too many fields in the query")
    if (target.startswith("/") and method != "CONNECT") or (target == "*" and method == "OPTIONS"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or method == "CONNECT":
        raise BadRequest("a target that is none of this server's")
    authority, rest = absolute[1], absolute[2]
    if not authority:
        raise BadRequest("a target without a host")
    return (rest if rest.startswith("/") else f"/{rest}"), authority


def _host(headers: Headers, authority: str | None, version: str) -> str:
    """Of an absolute target, else of the field, which HTTP/1.1 has exactly once (section 3.2)."""
    hosts = headers.get_list("host")
    if len(hosts) > 1 or (not hosts and version == "HTTP/1.1"):
        raise BadRequest("not exactly one Host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest("a malformed Host")
    host = authority if authority is not None else hosts[0] if hosts else "127.0.0.1"
    if not _HOST.fullmatch(host):
        raise BadRequest("a malformed host in the target")
    return host


def _content_length(headers: Headers, version: str) -> int | None:
    """Section 6.3: chunked and nothing else, or one length, or no body."""
    codings = headers.get_list("transfer-encoding")
    lengths = headers.get_list("content-length")
    if codings:
        if version != "HTTP/1.1" or lengths or len(codings) > 1 or codings[0].lower() != "chunked":
            raise BadRequest("a Transfer-Encoding that is not plainly chunked")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        raise BadRequest("a Content-Length that is not one number")
    # Python refuses to read a number of thousands of digits, zeros included.
    digits = lengths[0].lstrip("0")
    if len(digits) > _LENGTH_DIGITS:
        raise BadRequest("a Content-Length beyond all measure", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(digits or "0")


def _keeps_alive(headers: Headers, version: str) -> bool:
    options = headers.words("connection") if "connection" in headers else ()
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)
