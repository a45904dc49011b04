"""The command that measures runs, and its tables, ratios and plot are right on results that were made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import launcher
from benchmarks.__main__ import PAGES, RESULTS, chosen, installed, read_results
from benchmarks.corpora import gather, short_queries
from benchmarks.growth import SERIES, growth_svg, nice_ticks, short
from benchmarks.peers import SYSTEMS, System
from benchmarks.processes import ProcessFailedError, run
from benchmarks.profiles import Clock, process, table
from benchmarks.tables import ROWS, between_markers, publish, ratio, row_table, summary_table
from rag.index import Index
from rag.types import Document

ROOT = Path(__file__).resolve().parents[1]


def made_up(row: str, **seconds: list[float] | str) -> dict[str, Any]:
    """A result in which each system took so many seconds in each round, or failed with a message."""
    systems = {
        name.replace("_", "-"): {"runs": [], "error": took}
        if isinstance(took, str)
        else {
            "runs": [
                {"round": i, "wall_s": s, "cpu_s": 2 * s, "peak_mb": 100.4, "chunks": 60, "p50_ms": s}
                for i, s in enumerate(took, 1)
            ]
        }
        for name, took in seconds.items()
    }
    machine = {"cpu": "a CPU", "cores": 2}
    return {
        "row": row,
        "text": "60 chunks",
        "chunks": 60,
        "date": "2026-01-02",
        "machine": machine,
        "systems": systems,
        "versions": {},
    }


def wall(found: Mapping[str, float]) -> float:
    return found["wall_s"]


def test_a_ratio_is_of_medians_and_its_range_is_of_the_rounds() -> None:
    found = ratio(made_up("ingest", footnote=[1.0, 2.0, 4.0], st_faiss=[6.0, 10.0, 8.0]), "footnote", wall)
    assert found is not None
    assert (found.of_medians, found.smallest, found.largest) == (8.0 / 2.0, 8.0 / 4.0, 6.0 / 1.0)
    assert str(found) == "4.00 (2.00 to 6.00)"


def test_a_ratio_of_one_round_has_no_range() -> None:
    assert str(ratio(made_up("ingest", footnote=[2.0], st_faiss=[5.0]), "footnote", wall)) == "2.50"


def test_rounds_are_compared_with_the_same_round_of_the_baseline_alone() -> None:
    result = made_up("ingest", footnote=[1.0, 2.0, 4.0], st_faiss=[6.0])
    found = ratio(result, "footnote", wall)
    assert found is not None
    assert (found.of_medians, found.smallest, found.largest) == (6.0, 6.0, 6.0)


@pytest.mark.parametrize("systems", [{"footnote": [1.0]}, {"footnote": [1.0], "st_faiss": "no memory"}])
def test_without_the_baseline_there_is_no_ratio(systems: dict[str, list[float] | str]) -> None:
    assert ratio(made_up("ingest", **systems), "footnote", wall) is None


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=9))
def test_the_ratio_of_medians_lies_within_the_range_of_the_rounds(rounds: list[tuple[float, float]]) -> None:
    result = made_up("ingest", footnote=[a for a, _ in rounds], st_faiss=[b for _, b in rounds])
    found = ratio(result, "footnote", wall)
    assert found is not None
    assert found.smallest * (1 - 1e-9) <= found.of_medians <= found.largest * (1 + 1e-9)


def test_a_table_has_a_line_a_system_with_its_quality_beside_and_says_who_failed() -> None:
    result = made_up("ingest", footnote=[1.0, 2.0, 4.0], st_faiss=[6.0, 10.0, 8.0], chroma="exit code 1: no room")
    quality = made_up("quality", footnote=[1.0])
    quality["systems"]["footnote"]["runs"] = [{"round": 1, "ndcg@10": 0.7314}]
    assert row_table(result, quality) == (
        "| | chunks/s | times as fast as the baseline | CPU seconds | peak MB | nDCG@10 |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| **Footnote** | 30.0 | 4.00 (2.00 to 6.00) | 4.00 | 100 | 0.7314 |\n"
        "| sentence-transformers + FAISS | 7.5 | 1 | 16.00 | 100 | – |\n"
        "| Chroma | – | – | – | – | – |\n"
        "\n60 chunks; 3 rounds; a CPU, 2 cores; 2026-01-02. Chroma failed: exit code 1: no room."
    )


def test_the_short_table_leaves_out_what_was_not_measured() -> None:
    results = {
        "ingest": made_up("ingest", footnote=[2.0], st_faiss=[6.0], txtai=[6.0]),
        "cold": made_up("cold", footnote=[0.4], st_faiss=[5.0], haystack="exit code 1"),
        "warm-small": made_up("warm-small", footnote=[3.0]),
    }
    assert summary_table(results) == (
        "| | Footnote | sentence-transformers + FAISS |\n"
        "| --- | --- | --- |\n"
        "| ingest, chunks a second | **30.0** | 10.0 |\n"
        "| a query in a new process, s (peak memory) | **0.40 (100 MB)** | 5.00 (100 MB) |\n"
        "| a warm query, 60 chunks, p50 ms | **3.0** | – |"
    )


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    page = "before <!-- a:begin -->old<!-- a:end --> between <!-- b:begin -->kept<!-- b:end --> after"
    assert between_markers(page, "a", r"new \1") == (
        "before <!-- a:begin -->\nnew \\1\n<!-- a:end --> between <!-- b:begin -->kept<!-- b:end --> after"
    )
    assert between_markers(page, "c", "new") == page


def test_every_row_has_its_place_on_the_page_of_benchmarks_and_the_readme_has_one() -> None:
    readme, page = (file.read_text(encoding="utf-8") for file in PAGES)
    assert "<!-- benchmarks:begin -->" in readme
    for row in ROWS:
        assert f"<!-- row {row}:begin -->" in page
        assert f"<!-- row {row}:end -->" in page


def test_the_tables_of_the_pages_are_those_of_the_results() -> None:
    results = read_results(RESULTS)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert publish(results, text) == text, "run: python -m benchmarks --rows"


def test_a_peer_that_is_not_installed_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = System("missing", "Missing", "nowhere:Nothing", ("no-such-distribution",), "import nothing")
    monkeypatch.setitem(SYSTEMS, "missing", missing)
    assert installed(["footnote", "missing"]) == ["footnote"]
    assert capsys.readouterr().err == ("missing is not installed: pip install -c benchmarks/peers.txt -e '.[peers]'\n")


def test_a_row_measures_the_systems_that_it_is_about() -> None:
    every = list(SYSTEMS)
    assert [s.name for s in chosen(ROWS["help"], every)] == ["footnote"]
    assert [s.name for s in chosen(ROWS["warm-small"], every)] == every
    assert "footnote-dense" not in [s.name for s in chosen(ROWS["ingest"], every)]


# The plot


def made_up_growth() -> dict[str, Any]:
    rows = {name: {"seconds": 0.5, "peak_mb": 100, "p95_ms": 4.0} for name, _, _ in SERIES}
    return {"sizes": [{"chunks": chunks, "rows": rows} for chunks in (1, 1000, 1_000_000, 10_000)]}


def test_the_plot_is_well_formed_with_a_line_a_series_and_a_point_a_size() -> None:
    image = ElementTree.fromstring(growth_svg(made_up_growth()))
    lines = image.findall("{http://www.w3.org/2000/svg}polyline")
    assert {line.get("data-row") for line in lines} == {name for name, _, _ in SERIES}
    for line in lines:
        points = [float(pair.split(",")[0]) for pair in line.attrib["points"].split()]
        assert len(points) == 3, "the index of one chunk is left out"
        assert points == sorted(points)
        # 10,000 stands a third of the way from 1,000 to 1,000,000
        assert (points[1] - points[0]) / (points[2] - points[0]) == pytest.approx(1 / 3, abs=0.01)


def test_a_plot_of_nothing_says_what_to_run() -> None:
    with pytest.raises(ValueError, match=r"run python -m benchmarks\.scale"):
        growth_svg({"sizes": []})


@given(st.floats(1e-6, 1e9))
def test_ticks_reach_the_largest_value_in_a_few_even_steps(largest: float) -> None:
    ticks = nice_ticks(largest)
    assert ticks[0] == 0
    assert ticks[-2] < largest * (1 + 1e-6)
    assert ticks[-1] >= largest * (1 - 1e-6)
    assert 4 <= len(ticks) <= 7


def test_numbers_of_chunks_are_short() -> None:
    assert [short(n) for n in (500, 1000, 2300, 10_790, 1_000_000)] == ["500", "1 k", "2.3 k", "10.8 k", "1 M"]


# Processes and corpora


def test_the_cost_of_a_process_holds_its_memory_and_that_of_its_children() -> None:
    child = "x = bytearray(60_000_000); x[::4096] = b'1' * len(x[::4096])"
    small = run([sys.executable, "-c", "pass"])
    large = run([sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"])
    assert large.peak_mb - small.peak_mb > 40
    assert large.cpu_s > small.cpu_s


def test_a_process_that_fails_is_named_by_its_last_line_and_one_that_is_late_is_killed() -> None:
    with pytest.raises(ProcessFailedError, match=r"^exit code 1: ValueError: no room$"):
        run([sys.executable, "-c", "raise ValueError('no room')"])
    with pytest.raises(ProcessFailedError, match=r"killed after \d+ s: no message"):
        run([sys.executable, "-c", "import threading; threading.Event().wait()"], timeout_s=0.2)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_descendants_are_the_process_and_all_below_it() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()  # the grandchild is there
        below = launcher.descendants(parent.pid)
        assert below[0] == parent.pid
        assert len(below) == 2
        assert set(below) < set(launcher.descendants(os.getpid()))
        parent.communicate(b"\n")
    assert launcher.descendants(parent.pid) == []


def test_short_queries_stand_in_the_text_and_none_comes_twice() -> None:
    chunks = ["The quick brown fox, 3 times, jumps over the lazy dog.", "Pack my box with five dozen liquor jugs."]
    queries = short_queries(chunks, n=20, seed=1)
    assert len(set(queries)) == 20
    texts = ["the quick brown fox times jumps over the lazy dog", "pack my box with five dozen liquor jugs"]
    assert all(any(query in text for text in texts) and 2 <= len(query.split()) <= 5 for query in queries)
    assert queries == short_queries(chunks, n=20, seed=1)


@pytest.mark.slow
def test_a_corpus_takes_whole_files_in_order_and_made_text_fills_the_rest(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (text / name).write_text(f"This is the one and only sentence of the file {name}.")
    assert gather(text, tmp_path / "two", n_chunks=2, fill=True) == 2
    assert sorted(file.name for file in (tmp_path / "two" / "files").iterdir()) == ["a.txt", "b.txt"]
    assert gather(text, tmp_path / "ten", n_chunks=10, fill=False) == 3
    assert gather(text, tmp_path / "more", n_chunks=5, fill=True) == 3
    made = sorted((tmp_path / "more" / "files" / "made").rglob("*.txt"))
    assert len(made) == 2
    assert "one and only sentence" in made[0].read_text(encoding="utf-8")


@pytest.mark.slow
def test_one_command_measures_our_own_system(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "apples.md").write_text("# Apples\n\nApples grow on trees, and most of them are eaten in autumn.\n")
    (text / "bees.md").write_text("# Bees\n\nBees make honey, and a hive of them needs thirty kilograms a winter.\n")
    command = [sys.executable, "-m", "benchmarks", "--peers", "footnote", "--repeat", "2", "--chunks", "2"]
    rows = ["ingest", "cold", "warm-small", "quality", "help"]
    done = subprocess.run(
        [*command, "--small", "4", "--rows", *rows, "--text", str(text), "--results", str(tmp_path / "results")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "quality: skipped, as no judged corpus is given: --scifact FOLDER" in done.stderr
    results = read_results(tmp_path / "results")
    assert sorted(results) == ["cold", "help", "ingest", "warm-small"]
    for result in results.values():
        measured = result["systems"]["footnote"]
        assert "error" not in measured
        assert [one["round"] for one in measured["runs"]] == [1, 2]
        assert all(one["peak_mb"] > 5 and one["cpu_s"] > 0 for one in measured["runs"])
        assert result["machine"]["cores"] >= 1
    assert results["ingest"]["chunks"] == 2
    assert results["warm-small"]["chunks"] == 4
    assert "2 chunks of shuffled" not in results["ingest"]["text"]
    assert "shuffled sentences of it (2 chunks)" in results["warm-small"]["text"]
    assert "| **Footnote** |" in done.stdout
    assert json.loads((tmp_path / "results" / "cold.json").read_text())["versions"]["footnote-rag"]


def test_time_is_charged_to_what_runs_innermost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])  # seconds at which the clock is read
    monkeypatch.setattr("benchmarks.profiles.time.perf_counter", lambda: next(now))

    class Work:
        @classmethod
        def outer(cls) -> str:
            return cls().inner() + "!"

        def inner(self) -> str:
            return "done"

    clock = Clock()
    clock.wrap(Work, "outer", "outer")
    clock.wrap(Work, "inner", "inner")
    assert Work.outer() == "done!"
    assert clock.done() == {"the rest": 1000 + 5000, "outer": 2000 + 4000, "inner": 3000}


def test_a_profile_of_a_search_accounts_for_the_whole_process(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index") as index:
        index.add([Document("a", "How to install a plugin: drop it into the folder of plugins.")])
    found = process("search", str(tmp_path / "index"))
    total = found.pop("total")
    assert sum(found.values()) == pytest.approx(total)
    assert {"import faiss", "read the vectors", "the encoder: embed the query", "rank by words"} <= found.keys()
    assert "| total | " in table("search", found | {"total": total})
