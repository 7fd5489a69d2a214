"""nginx in front of a server: TLS outside, plain HTTP inside, set up as the README says."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.certificates import Certificate
from tests.processes import REPOSITORY

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
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {readme_http}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate.cert};
    ssl_certificate_key {certificate.key};
    proxy_bind {address};
    location /health/ {{ proxy_pass {upstream}; }}
    {readme_server}
  }}
}}
"""


def readme_blocks(upstream: str) -> tuple[str, str]:
    """What the README says belongs in the http block, and in the server block."""
    block = (REPOSITORY / "README.md").read_text().partition("```nginx\n")[2].partition("```")[0]
    http, _, server = block.replace("http://127.0.0.1:8000", upstream).partition("# in the server block\n")
    assert upstream in server
    return http, server


class Proxy:
    """A running nginx; ``url`` is its address, ``scheme`` what it says in X-Forwarded-Proto."""

    def __init__(
        self, nginx: str, directory: Path, upstream: str, certificate: Certificate, scheme: str = "$scheme"
    ) -> None:
        directory.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self._ca = certificate.cert
        configuration = directory / "nginx.conf"
        http, server = readme_blocks(upstream)
        assert "X-Forwarded-Proto $scheme;" in server
        server = server.replace("X-Forwarded-Proto $scheme;", f'X-Forwarded-Proto "{scheme}";')
        configuration.write_text(
            _CONFIGURATION.format(
                port=port,
                certificate=certificate,
                upstream=upstream,
                address=PROXY_ADDRESS,
                readme_http=http,
                readme_server=server,
            )
        )
        self._log = directory / "stderr"
        with self._log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [nginx, "-p", directory, "-e", "stderr", "-c", configuration], stdin=subprocess.DEVNULL, stderr=stderr
            )

    def wait_until_ready(self) -> None:
        trust = ssl.create_default_context(cafile=self._ca)
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

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
