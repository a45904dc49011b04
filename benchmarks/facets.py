"""What the filters of the Search page cost in a large index: `python -m benchmarks.facets [--documents 100000]`.

Documents with three levels of folders, four types, dates over eight years and four fields, one of them different for
each: milliseconds to read what filters there are, which happens once after each change of the index, and to count
them, which each other choice needs once; and what is kept in memory, in units of 10^6 bytes.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from datetime import datetime

from rag.store import DocumentFacts
from ui.facets import Facets

DAY_S = 86_400


def made_facts(n: int, now: datetime) -> list[DocumentFacts]:
    """What an index of n files would tell of them."""
    found = []
    for i in range(n):
        path = f"team{i % 40}/year{i % 7}/part{i % 1000}/{i}.{('md', 'pdf', 'txt', 'docx')[i % 4]}"
        fields = {"author": f"person {i % 50}", "lang": ("en", "de", "fr")[i % 3], "id": f"x{i}", "year": 2000 + i % 20}
        found.append(DocumentFacts(path, path, int((now.timestamp() - i % 3000 * DAY_S) * 1e9), fields))
    return found


def taking(does: Callable[[], object]) -> float:
    """Milliseconds that something takes."""
    began = time.perf_counter()
    does()
    return round((time.perf_counter() - began) * 1000, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    n, now = parser.parse_args().documents, datetime.now()
    facts = made_facts(n, now)
    row: dict[str, float] = {"documents": n, "read ms": taking(lambda: Facets(facts, now=now))}
    tracemalloc.start()
    facets = Facets(facts, now=now)
    row["kept MB"] = round(tracemalloc.get_traced_memory()[0] / 1e6, 1)
    tracemalloc.stop()
    chosen = {"type": "type=md", "meta.lang": 'meta.lang="en"'}
    for name, some in (("none chosen", {}), ("two chosen", chosen), ("the same again", chosen)):
        row[f"{name} ms"] = taking(lambda some=some: facets.offer(some))  # type: ignore[misc]
    print(json.dumps(row))


if __name__ == "__main__":
    main()
