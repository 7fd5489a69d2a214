"""What can be seen from this machine: settings, keys, clock, certificates, descriptors, the store and its disk."""

from __future__ import annotations

import asyncio
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from adapters.http.descriptors import RESERVED_DESCRIPTORS
from entrypoints import checking
from entrypoints.beside import look_beside
from entrypoints.doctor.clock import Skew, look_at_clock
from entrypoints.doctor.findings import Findings
from entrypoints.settings import Settings, TlsSettings
from entrypoints.settings_sources import Sources

CERTIFICATE_DAYS: Final = 14
"""A certificate that ends sooner is one that nobody renews."""

LEAST_FREE_BYTES: Final = 64 * 1024 * 1024
SPARE_BYTES: Final = 1024 * 1024 * 1024


def look_here(settings: Settings, sources: Sources) -> Findings:
    """Raises SettingsError, where ``serve`` would not start."""
    findings = Findings()
    held = asyncio.run(look_beside(settings, checking.check(settings)))
    findings.ok("settings", f"{sources.where}: serve listens on {settings.address}")
    for line in checking.notices(settings, sources):
        findings.ok("settings", line)
    for note in held.at:
        findings.ok("listening", note)
    if not settings.api.key and not settings.api.keys and not any(issuer.services for issuer in settings.auth.issuers):
        findings.warn("api", "nobody may publish", "set api.key or api.keys, unless a feed is all there is")
    asyncio.run(_look_at_keys(findings, settings, sources))
    for name, tls in (("tls", settings.tls), ("internal.tls", settings.internal.tls)):
        _look_at_certificate(findings, f"{name}.cert", tls)
    _look_at_descriptors(findings, settings)
    _look_at_store(findings, settings, held.store)
    findings.untried.extend(checking.untried(settings))
    return findings


async def _look_at_keys(findings: Findings, settings: Settings, sources: Sources) -> None:
    seen = await checking.look_at_keys(settings)
    for one in seen:
        if one.fault is not None:
            wrong = sources.named(f"{one.setting}: the keys of {one.name} cannot be had: {one.fault}")
            findings.fail("keys", wrong, "see that this machine gets them, as with curl: until then it lets nobody in")
        elif one.skipped:
            findings.warn(
                "keys", f"{one.keys} of {one.name}; not used: {'; '.join(one.skipped)}", "tell whoever runs that issuer"
            )
        else:
            findings.ok("keys", f"{one.keys} of {one.name}")
    if not settings.auth.issuers and settings.auth.secret:
        findings.ok("keys", f"{len(settings.auth.secret)} in auth.secret")
    answered = [one.name for one in seen if one.fault is None]
    for name, skew in zip(answered, await asyncio.gather(*map(look_at_clock, answered)), strict=True):
        report_clock(findings, name, skew, settings.auth.leeway)
    if not answered:
        findings.untried.append(
            f"the clock against a key server: {'none answers' if seen else 'the settings name none'}"
        )


def report_clock(findings: Findings, name: str, skew: Skew | None, leeway: timedelta) -> None:
    if skew is None:
        findings.untried.append(f"the clock against {name}: its answer has no Date")
    elif skew.seconds <= 1:
        findings.ok("clock", f"as that of {name}")
    elif skew.seconds <= leeway.total_seconds():
        findings.warn("clock", f"{skew.words} that of {name}", "have it set over the network (NTP)")
    else:
        findings.fail(
            "clock",
            f"{skew.words} that of {name}, more than auth.leeway",
            "have it set over the network (NTP): good tokens are taken for expired, or for not valid yet",
        )


def _look_at_certificate(findings: Findings, name: str, tls: TlsSettings) -> None:
    if tls.cert is None:
        return
    certificate = x509.load_pem_x509_certificates(tls.cert.read_bytes())[0]
    report_certificate(findings, f"{name} {tls.cert}", certificate.not_valid_after_utc)
    if certificate.not_valid_before_utc > datetime.now(UTC):
        findings.fail("certificate", f"{name} {tls.cert} is not valid yet", "wait, or set the clock of this machine")


def report_certificate(findings: Findings, name: str, end: datetime) -> None:
    left = end - datetime.now(UTC)
    if left <= timedelta():
        findings.fail("certificate", f"{name} has expired on {end:%Y-%m-%d}", "renew it")
    elif left < timedelta(days=CERTIFICATE_DAYS):
        findings.warn("certificate", f"{name} expires on {end:%Y-%m-%d}", "see why it is not renewed by itself")
    else:
        findings.ok("certificate", f"{name} is valid until {end:%Y-%m-%d}")


def _look_at_descriptors(findings: Findings, settings: Settings) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.limits.connections + settings.limits.unauthenticated + RESERVED_DESCRIPTORS
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        findings.ok("descriptors", f"{wanted} are needed at most, {_limit(hard)} may be had from this shell")
    else:
        findings.warn(
            "descriptors",
            f"{wanted} may be needed, and {hard} may be had from this shell",
            "raise the limit (ulimit -Hn, LimitNOFILE of systemd), or lower limits.connections",
        )


def _limit(hard: int) -> str:
    return "any number" if hard == resource.RLIM_INFINITY else str(hard)


def _look_at_store(findings: Findings, settings: Settings, held: str | None) -> None:
    scheme = settings.store.scheme
    looks: Mapping[str, Callable[[Findings, Settings, str | None], None]] = {
        "sqlite": _look_at_file,
        "memory": _look_at_memory,
    }
    looks.get(scheme, _look_at_database)(findings, settings, held)


def _look_at_memory(findings: Findings, _: Settings, __: str | None) -> None:
    findings.warn("store", "in memory: it is gone when the process ends", "name a file or a database in store")


def _look_at_database(findings: Findings, settings: Settings, held: str | None) -> None:
    if held is None:
        findings.ok("store", f"the {settings.store.scheme} answers, and can be used")
    else:
        findings.warn("store", held, "see that the move ends")
    findings.untried.append("the disk of the database: look at it on its machine")


def _look_at_file(findings: Findings, settings: Settings, held: str | None) -> None:
    path = settings.store.path.absolute()
    findings.ok("store", held if held is not None else f"{path} can be opened and written")
    free, size = shutil.disk_usage(path.parent).free, sum(_sizes(path))
    said = f"{_bytes(free)} free beside {_bytes(size)} of the store"
    if free < LEAST_FREE_BYTES:
        findings.fail("disk", said, f"make room in {path.parent}: nothing can be published where it is full")
    elif free < max(SPARE_BYTES, size):
        findings.warn("disk", said, "make room: a new version, and a backup beside it, may need as much again")
    else:
        findings.ok("disk", said)


def _sizes(path: Path) -> Sequence[int]:
    files = (path, path.with_name(f"{path.name}-wal"))
    return [file.stat().st_size for file in files if file.exists()]


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
