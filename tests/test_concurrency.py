"""Many at once, for a few seconds; benchmarks/concurrency.py says what is looked at, and runs for minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_eight_readers_never_see_an_error_nor_a_half_state_while_two_write() -> None:
    command = [sys.executable, "-W", "error", "-m", "benchmarks.concurrency", "--rounds", "10", "--documents", "9"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=280)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert (done.returncode, done.stderr) == (0, "")
    assert [found[name] for name in ("errors", "half states", "stale states", "steps back in time")] == [0] * 4
    did = found["did"]
    assert found["commits"] >= 20
    assert {"writers: compact": 1, "writers: ingest": 12, "writers: reembed": 1}.items() <= did.items()
    assert min(did[f"writers: {what}"] for what in ("add", "delete", "edit", "forget", "rename")) >= 1
    assert min(did[what] for what in ("views", "searches", "documents read", "answers", "opened afresh", "lists")) >= 8
    assert min(times["searches"] for times in found["latency"].values()) >= 8
