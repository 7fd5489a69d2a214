"""nginx in front of a server: with TLS outside as the documents say, or plain and as others set it up."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from tests.documents import block
from tests.e2e.certificates import Certificate
from tests.requirements import require

PROXY_ADDRESS = "127.0.0.9"
"""Where nginx's own connections to the server come from; clients come from 127.0.0.1."""

START_SECONDS = 10.0

_CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  log_format asked '$status $request_uri';
  access_log access.log asked;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {http}
  server {{
    listen 127.0.0.1:{port}{tls};
    proxy_bind {address};
    location /health/ {{ proxy_pass {upstream}; }}
    {server}
  }}
}}
"""

_TLS = """ ssl;
    ssl_certificate {certificate.cert};
    ssl_certificate_key {certificate.key}"""

_KEPT_ALIVE_HTTP = """
  map $http_upgrade $connection_upgrade {{
    default upgrade;
    ""      "";
  }}
  upstream synkrone {{
{servers}    keepalive 16;
  }}
"""


class Upstream(Enum):
    """How nginx speaks to the server. DEFAULT is HTTP/1.0 without upgrades; DOCUMENTED one request a connection."""

    KEPT_ALIVE = "kept_alive"
    DEFAULT = "default"
    DOCUMENTED = "documented"


def find_nginx() -> str:
    """Where it is; skips the test where it is not."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    require(nginx, "nginx is not installed: apt-get install nginx")
    assert nginx is not None
    return nginx


def documented_blocks(upstream: str) -> tuple[str, str]:
    """What the documents say belongs in the http block, and in the server block."""
    text = block("docs/how-to/proxies.md", "nginx", "upgrade")
    http, _, server = text.replace("http://127.0.0.1:8000", upstream).partition("# in the server block\n")
    assert upstream in server
    return http, server


def _location(*directives: str, path: str = "/socket.io/") -> str:
    forwarded = (
        "proxy_set_header Host $http_host",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for",
        "proxy_set_header X-Forwarded-Proto $scheme",
    )
    return f"location {path} {{\n" + "".join(f"      {line};\n" for line in (*directives, *forwarded)) + "    }"


def _blocks(how: Upstream, upstreams: Sequence[str]) -> tuple[str, str]:
    """What belongs in the http block, and in the server block."""
    upstream = upstreams[0]
    if how is Upstream.DOCUMENTED:
        return documented_blocks(upstream)
    if how is Upstream.DEFAULT:
        return "", _location(f"proxy_pass {upstream}")
    servers = "".join(f"    server {each.removeprefix('http://')} fail_timeout=1s;\n" for each in upstreams)
    directives = (
        "proxy_pass http://synkrone",
        "proxy_http_version 1.1",
        "proxy_set_header Upgrade $http_upgrade",
        "proxy_set_header Connection $connection_upgrade",
    )
    return _KEPT_ALIVE_HTTP.format(servers=servers), "\n    ".join(
        _location(*directives, path=path) for path in ("/socket.io/", "/v1/")
    )


class Proxy:
    """A running nginx; ``url`` is its address, ``scheme`` what it says in X-Forwarded-Proto. Without a certificate it
    speaks plain HTTP. ``more`` is put into its server block, with {upstream} for the first server. Of several
    ``upstreams``, which are KEPT_ALIVE, each request goes to the next one."""

    def __init__(
        self,
        nginx: str,
        directory: Path,
        upstreams: str | Sequence[str],
        certificate: Certificate | None = None,
        how: Upstream = Upstream.DOCUMENTED,
        scheme: str = "$scheme",
        more: str = "",
    ) -> None:
        directory.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"
        self._ca = None if certificate is None else certificate.cert
        configuration = directory / "nginx.conf"
        if isinstance(upstreams, str):
            upstreams = [upstreams]
        http, server = _blocks(how, upstreams)
        assert "X-Forwarded-Proto $scheme;" in server
        server = server.replace("X-Forwarded-Proto $scheme;", f'X-Forwarded-Proto "{scheme}";')
        configuration.write_text(
            _CONFIGURATION.format(
                port=self.port,
                tls="" if certificate is None else _TLS.format(certificate=certificate),
                upstream=upstreams[0],
                address=PROXY_ADDRESS,
                http=http,
                server=server + more.replace("{upstream}", upstreams[0]),
            )
        )
        self._log = directory / "stderr"
        self._accesses = directory / "access.log"
        with self._log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [nginx, "-p", directory, "-e", "stderr", "-c", configuration], stdin=subprocess.DEVNULL, stderr=stderr
            )

    def wait_until_ready(self) -> None:
        trust = None if self._ca is None else ssl.create_default_context(cafile=self._ca)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health/live", timeout=5, context=trust):  # noqa: S310
                    return
            except OSError as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
            assert self._process.poll() is None, f"nginx ended by itself: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"nginx does not answer: {self._log.read_text()}"
            time.sleep(0.02)

    def answered(self, status: int) -> list[str]:
        """The targets of the requests that were answered so by now, whoever answered."""
        lines = (line.split(" ", 1) for line in self._accesses.read_text().splitlines())
        return [target for code, target in lines if code == str(status)]

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
