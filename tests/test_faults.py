"""Whatever happens to a process that writes, to the power, to the disk: the fault harness finds nothing lost or wrong.

`python -m benchmarks.faults` does the same two thousand times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SEED = 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks processes, which this system cannot")
def test_an_index_survives_kills_power_cuts_and_full_disks() -> None:
    """In a process of its own, which has a single thread and can fork; the seed stands in its report."""
    words = [sys.executable, "-m", "benchmarks.faults", "--kills", "50", "--seed", str(SEED), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert (report["faults"], report["documents_lost"]) == ([], 0), done.stdout
    assert report["embedded_again"] <= report["texts_per_batch"], done.stdout
    assert report["kills"] == 50
    assert {"ingest: add", "ingest: update", "ingest: delete", "reembed", "compact"} <= report["kills_by_task"].keys()
    assert report["compared_afresh"] > 0
    assert sum(report["power_cuts"].values()) > 0
    assert {"file size limit", "no room to sync or rename"} <= report["write_errors"].keys()
    assert ("full file system" in report["write_errors"]) != bool(report["skipped"]), report["skipped"]
    assert (done.returncode, done.stderr) == (0, "")
