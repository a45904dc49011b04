"""Runs commands as whole processes and says what they cost."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import launcher

ROOT = Path(__file__).resolve().parents[1]
# Nothing is fetched and nothing is told to anybody, whichever library runs.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "ANONYMIZED_TELEMETRY": "False",  # Chroma
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "OTEL_SDK_DISABLED": "true",
    "ORT_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost from start to exit; see launcher.py."""

    wall_s: float
    cpu_s: float
    peak_mb: float  # of 10^6 bytes
    out: str


class ProcessFailedError(Exception):
    """A command ended badly; the message is its last line of complaint."""


def run(words: Sequence[str], *, timeout_s: float = 3600.0, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command from the root of the repository, offline.

    Raises:
        ProcessFailedError: it ended with another code than 0, or took longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="footnote-run-") as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        done = subprocess.run(
            [sys.executable, "-S", launcher.__file__, str(out), str(err), str(timeout_s), *words],
            stdout=subprocess.PIPE,
            check=True,
            cwd=ROOT,
            env={**os.environ, **QUIET, **(env or {})},
        )
        wall, cpu, peak, code = json.loads(done.stdout)
        if code:
            complaint = err.read_text(errors="replace").strip().splitlines()
            late = f", killed after {wall:.0f} s" if code == launcher.KILLED else ""
            raise ProcessFailedError(f"exit code {code}{late}: {complaint[-1][:300] if complaint else 'no message'}")
        return Cost(wall, cpu, peak, out.read_text(errors="replace"))


def machine() -> dict[str, str | int]:
    """What the figures hang on."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cpu": cpu, "cores": cores, "system": platform.platform(), "python": platform.python_version()}
