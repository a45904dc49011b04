"""One query, asked of one system in a new process: python -m benchmarks.peers SYSTEM INDEX_FOLDER QUERY"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers import SYSTEMS

_, name, folder, query = sys.argv
for found in SYSTEMS[name].load().open(Path(folder))(query, 5):
    print(f"{found.score:.3f} {found.text}\n")
