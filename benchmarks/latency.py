"""How long a question takes: in a new process, and in one that is warm.

python -m benchmarks.latency indexes/embeddings "a question" "another question" ...
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import rag


def milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def new_process(command: str, question: str, index: str) -> float:
    words = [sys.executable, "-m", "rag.cli", command, question, "--index", index, "--json"]
    return milliseconds(lambda: subprocess.run(words, check=True, capture_output=True))


def main() -> None:
    folder, *questions = sys.argv[1:]
    index = folder if "/" in folder else f"./{folder}"
    found: dict[str, object] = {
        f"new process, rag {command}, ms": sorted(round(new_process(command, questions[0], index)) for _ in range(5))
        for command in ("search", "ask")
    }
    found["new process, peak MB"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    with rag.Index.open(index) as opened:
        retriever = rag.Retriever(opened)
        pipeline = rag.Pipeline(retriever)
        for question in questions:
            pipeline.ask(question)
        for name, call in (("search", retriever.search), ("ask", pipeline.ask)):
            times = [milliseconds(lambda q=q, call=call: call(q)) for _ in range(10) for q in questions]  # type: ignore[misc]
            found[f"warm {name}, median ms"] = round(statistics.median(times), 1)
        found["passages"] = opened.status().chunks
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
