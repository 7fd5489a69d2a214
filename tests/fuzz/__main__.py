"""``make fuzz``: coverage-guided fuzzing of what reads clients' bytes, for a time, target after target."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile

NAMES = (
    "frames", "payloads", "socketio_packets", "sessions", "requests", "publications", "conversations", "http_heads",
    "chunked_bodies", "http_connections",
)  # fmt: skip
MOST_BYTES = 4096


def fuzz(name: str, seconds: int, corpus: str) -> None:
    """Runs in a process of its own, which libFuzzer ends."""
    import atheris  # noqa: PLC0415 (it takes the process over)

    with atheris.instrument_imports(
        include=["adapters.http", "adapters.transport", "adapters.contract", "tests.fuzz.targets"]
    ):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 (what is imported here is watched)
    target = TARGETS[name]
    options = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-len_control=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={tempfile.gettempdir()}/synkrone-{name}-", corpus], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is not None:
        fuzz(options.only, options.seconds, options.run)
        return 0
    code = 0
    for name in [options.only] if options.only else NAMES:
        with tempfile.TemporaryDirectory() as corpus:
            command = [sys.executable, "-m", "tests.fuzz", "--only", name, "--seconds", str(options.seconds)]
            ended = subprocess.run([*command, "--run", corpus], capture_output=True, text=True, check=False)
        statistics = [line for line in ended.stderr.splitlines() if line.startswith("stat::number_of_executed")]
        coverage = [line for line in ended.stderr.splitlines() if " cov: " in line]
        print(f"{name}: {' '.join(statistics)} {coverage[-1].strip() if coverage else ''}", flush=True)
        if ended.returncode:
            code = 1
            print(ended.stderr[-4000:], flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
