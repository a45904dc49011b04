"""The command line: exit codes, the JSON forms, and words for people; over a small index made with a fake encoder."""

from __future__ import annotations

import io
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import rag
from rag import index as index_module
from rag.cli import main
from rag.cli.rendering import ProgressBar
from rag.encoders import Encoder
from rag.index import Index
from rag.progress import Progress
from tests.fakes import HashingEncoder, QueuedGenerator
from ui.keeping import FILE_NAME
from ui.threads import Threads

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_reading: None) -> Run:
    """Runs `rag` in an empty folder, with a fake encoder in place of the model."""

    def load(name: str = "hashing", **_: object) -> Encoder:
        return HashingEncoder(name=name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(index_module, "load_encoder", load)
    monkeypatch.setattr(index_module, "DEFAULT_ENCODER", "hashing")

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, list(words), catch_exceptions=False)

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "refunds.md").write_text(
        "# Refunds\n\nA refund is possible within 30 days of the purchase.\n\n## How\n\nWrite to the shop.\n"
    )
    (docs / "sub" / "cats.txt").write_text("Cats sleep for sixteen hours a day. They are awake at dusk.")
    (docs / "photo.png").write_bytes(b"\x89PNG")
    return docs


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_ingest_says_what_it_did(run: Run, folder: Path) -> None:
    result = run("ingest", "docs")
    assert result.exit_code == 0
    assert result.stdout.startswith("2 files read, 0 unchanged, 0 set aside; 3 passages, 3 embedded, ")
    assert "skipped, of types that are not read: 1 .png" in result.stdout
    assert (Path("indexes") / "default" / "index.sqlite").exists()


def test_new_passages_are_made_in_the_form_that_the_others_have(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, *, form: str) -> Encoder:
        encoder = HashingEncoder(name=name)
        encoder.form = form
        return encoder

    monkeypatch.setattr("rag.encoders.load_encoder", load)
    assert run("ingest", "docs", "--form", "onnx-int8").exit_code == 0
    assert run("ingest", "docs", "--form", "onnx-int8").exit_code == 0
    result = run("ingest", "docs", "--form", "onnx-fp32")
    assert result.exit_code == 1
    assert "index 'default' is made in onnx-int8" in result.stderr
    assert "rag reembed --encoder sentence-transformers/all-MiniLM-L6-v2 --form onnx-fp32" in result.stderr
    assert run("reembed", "--encoder", "sentence-transformers/all-MiniLM-L6-v2", "--form", "onnx-fp32").exit_code == 0
    assert run("ingest", "docs", "--form", "onnx-fp32").exit_code == 0


def test_ingest_in_json_has_the_agreed_form(run: Run, folder: Path) -> None:
    (folder / "broken.pdf").write_text("not a PDF")
    result = run("ingest", "docs", "--json")
    [report] = lines(result)
    assert isinstance(report.pop("seconds"), float)
    aside: Any = report.pop("set_aside")
    assert [entry["path"] for entry in aside] == ["broken.pdf"]
    assert "is not a PDF" in aside[0]["reason"]
    assert report == {
        "read": 2, "unchanged": 0, "moved": 0, "removed": 0, "skipped": {".png": 1}, "notes": [], "chunks": 3,
        "embedded": 3, "stopped": False,
    }  # fmt: skip
    assert result.exit_code == 3


def test_a_second_ingest_finds_everything_unchanged(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    [report] = lines(run("ingest", "docs", "--json"))
    assert (report["read"], report["unchanged"], report["embedded"]) == (0, 2, 0)


def test_an_empty_folder_is_done(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("ingest", "empty").exit_code == 0


def test_a_path_that_is_not_there_is_set_aside(run: Run, folder: Path) -> None:
    result = run("ingest", "docs", "nowhere")
    assert result.exit_code == 3
    assert "set aside: nowhere: " in result.stdout
    assert "2 files read" in result.stdout


def test_a_type_that_is_not_read_is_set_aside_when_it_is_named(run: Run, folder: Path) -> None:
    result = run("ingest", "docs/photo.png")
    assert result.exit_code == 3
    assert "photo.png: is of a type that is not read" in result.stdout


def test_names_with_control_characters_cannot_drive_the_terminal(run: Run, folder: Path) -> None:
    (folder / "evil\x1b[31m\nname.pdf").write_text("no")
    result = run("ingest", "docs")
    assert "\x1b" not in result.stdout
    assert "evil\\x1b[31m\\nname.pdf" in result.stdout


def test_search_in_json_is_one_hit_a_line_in_the_agreed_form(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    hits = lines(run("search", "refund within days", "-k", "2", "--json"))
    text = "A refund is possible within 30 days of the purchase."
    start = (folder / "refunds.md").read_text().index(text)
    score, chunk_id = hits[0].pop("score"), hits[0].pop("chunk_id")
    assert isinstance(score, float)
    assert isinstance(chunk_id, int)
    assert hits[0] == {
        "rank": 1, "source": "refunds.md", "title": "Refunds", "page": None, "section": "Refunds",
        "start": start, "end": start + len(text), "text": text, "also_in": [],
    }  # fmt: skip
    assert [hit["rank"] for hit in hits] == [1, 2]


def test_search_explains_its_hits_in_the_agreed_form(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    hit = lines(run("search", "refund within days", "-k", "1", "--explain", "--json"))[0]
    why: Any = hit["explanation"]
    assert set(why) == {"cosine", "bm25", "late", "shares", "terms", "sentences", "tokens", "elsewhere"}
    assert sum(why["shares"].values()) == pytest.approx(hit["score"], abs=1e-5)
    assert set(why["terms"]) == {"refund", "within", "days"}
    text = (folder / "refunds.md").read_text()
    assert [text[s["start"] : s["end"]] for s in why["sentences"]] == [hit["text"]]
    shown = run("search", "refund within days", "-k", "1", "--explain").stdout
    assert "why: " in shown
    assert "words: " in shown
    assert "% of the highest BM25 score" in shown


def test_search_shows_what_stands_around_a_hit(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    text = (folder / "refunds.md").read_text()
    for words in (("--window", "1"), ("--section",)):
        passage: Any = lines(run("search", "refund", "-k", "1", "--mode", "bm25", *words, "--json"))[0]
        assert set(passage) == {
            "rank", "score", "source", "title", "page", "section", "start", "end", "text", "hits"
        }  # fmt: skip
        assert text[passage["start"] : passage["end"]] == passage["text"]
        assert "Write to the shop." in str(passage["text"])
    shown = run("search", "refund", "-k", "1", "--mode", "bm25", "--window", "1").stdout
    assert "   › A refund is possible within 30 days of the purchase." in shown
    assert "     ## How Write to the shop." in shown


def test_search_takes_quotes_and_exclusions(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    assert [hit["source"] for hit in lines(run("search", '"awake at dusk"', "--json"))] == ["sub/cats.txt"]
    assert [hit["source"] for hit in lines(run("search", "days -refund -shop", "--json"))] == ["sub/cats.txt"]
    assert "Nothing found." in run("search", '"asleep at dusk"').stderr


def test_ask_says_what_no_passage_holds(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    said = run("ask", 'when are cats "asleep at dusk"').stdout
    assert "No passage holds “asleep at dusk” as it is written: ask without the quotes or hyphens." in said
    said = run("ask", '"awake at dusk" -cats').stdout
    assert "No passage holds “awake at dusk” as it is written and is without “cats”: ask without" in said


def test_a_reranker_that_is_not_there_is_one_line(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    result = run("search", "cats", "--rerank", str(folder / "nowhere"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "reranker" in result.stderr
    assert run("search", "cats", "--rerank-ms", "-1").exit_code == 2


def test_search_for_people_names_place_and_passage(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    result = run("search", "cats", "--mode", "bm25")
    assert "sub/cats.txt" in result.stdout
    assert "Cats sleep for sixteen hours" in result.stdout


def test_ask_in_json_has_the_agreed_form_and_its_quotes_are_exact(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    [answer] = lines(run("ask", "How many hours a day do cats sleep?", "--json"))
    assert list(answer) == [
        "question", "answer", "short_answer", "abstained", "confidence", "generator", "sentences", "citations",
        "nearest", "near_miss", "notes", "rewritten", "timings_ms",
    ]  # fmt: skip
    assert answer["abstained"] is False
    [shown] = lines(run("show", "sub/cats.txt", "--json"))
    first = answer["citations"][0]  # type: ignore[index]
    assert list(first) == ["marker", "source", "title", "page", "section", "start", "end", "quote"]
    assert first["quote"] == str(shown["text"])[first["start"] : first["end"]]
    assert answer["sentences"][0] == {"text": first["quote"], "citations": [1], "supported": True}  # type: ignore[index]


def test_ask_for_people_prints_the_answer_and_its_footnotes(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    result = run("ask", "How many hours a day do cats sleep?")
    assert result.stdout.startswith("Cats sleep for sixteen hours a day.[1]")
    assert "\n[1] sub/cats.txt\n     “Cats sleep for sixteen hours a day.”" in result.stdout


def test_chat_asks_line_by_line_and_says_what_it_made_of_a_question(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    asked = "How many hours a day do cats sleep?\n\nWhen are they awake?\n"
    told = CliRunner().invoke(main, ["chat", "--json"], input=asked, catch_exceptions=False)
    first, second = lines(told)
    assert (first["question"], first["rewritten"]) == ("How many hours a day do cats sleep?", None)
    assert (second["question"], second["rewritten"]) == ("When are they awake?", "When are cats awake?")
    shown = CliRunner().invoke(main, ["chat"], input=asked, catch_exceptions=False).stdout
    assert "(When are cats awake?)" in shown
    assert shown.startswith("Cats sleep for sixteen hours a day.[1]")
    assert CliRunner().invoke(main, ["chat"], input="").stdout == ""
    # A line that cannot be asked is told, and the next one is.
    told = CliRunner().invoke(main, ["chat", "--json"], input="\x00\nDo cats sleep?\n", catch_exceptions=False)
    assert [answer["question"] for answer in lines(told)] == ["Do cats sleep?"]
    assert "expected a question" in told.stderr
    kept = CliRunner().invoke(main, ["chat", "--save", "--json"], input=asked, catch_exceptions=False)
    assert [answer["saved"] for answer in lines(kept)] == [1, 2]
    [replayed] = lines(run("replay", "2", "--json"))
    assert replayed["answer"]["rewritten"] == "When are cats awake?"  # type: ignore[index]
    refused = CliRunner().invoke(main, ["chat", "--where", "nonsense"], input=asked)
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_ask_says_when_the_documents_do_not_tell_and_that_is_done(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    result = run("ask", "Which volcano erupted in Iceland yesterday?")
    assert result.exit_code == 0
    assert result.stdout.startswith("Not in these documents.")
    assert "These passages came nearest; none answers the question." in result.stdout
    [answer] = lines(run("ask", "Which volcano erupted in Iceland yesterday?", "--json"))
    assert (answer["abstained"], answer["answer"], answer["sentences"], answer["citations"]) == (
        True, "Not in these documents.", [], [],
    )  # fmt: skip


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_an_empty_question_is_one_line_that_says_what_to_do(run: Run, folder: Path, question: str) -> None:
    run("ingest", "docs")
    result = run("ask", question)
    assert result.exit_code == 1
    assert result.stderr.startswith("rag: expected a question, got an empty one: ask in words")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "question", ["x" * 100_000, "word " * 50_000, "猫は何時間寝ますか", "كم تنام القطط؟", '"(*', "🐈" * 99]
)
def test_a_question_that_is_long_or_in_another_script_gets_an_answer_or_an_honest_no(
    run: Run, folder: Path, question: str
) -> None:
    run("ingest", "docs")
    assert run("ask", question, "--json").exit_code == 0
    assert run("search", question, "--json").exit_code == 0


def test_without_an_index_it_says_how_to_make_one(run: Run) -> None:
    result = run("ask", "What?")
    assert result.exit_code == 1
    assert result.stderr == "rag: no index in ./indexes: make one with rag ingest PATH, or name one with --index\n"


def test_an_index_that_is_not_there_is_named(run: Run) -> None:
    result = run("search", "what", "--index", "nope")
    assert result.exit_code == 1
    assert "no index in 'indexes/nope'" in result.stderr


def test_with_several_indexes_one_must_be_named(run: Run, folder: Path) -> None:
    run("ingest", "docs", "--index", "one")
    run("ingest", "docs", "--index", "two")
    result = run("ask", "What?")
    assert result.exit_code == 1
    assert "there are 2 indexes (one, two): name one with --index" in result.stderr


def test_an_index_can_be_a_path(run: Run, folder: Path, tmp_path: Path) -> None:
    run("ingest", "docs", "--index", str(tmp_path / "elsewhere" / "mine"))
    assert len(lines(run("search", "cats", "--index", "./elsewhere/mine", "--json"))) == 3


def test_a_half_written_index_says_so_and_the_next_ingest_mends_it(run: Run, folder: Path) -> None:
    place = Path("indexes") / "default"
    place.mkdir(parents=True)
    (place / "index.sqlite").touch()
    result = run("ask", "What?")
    assert result.exit_code == 1
    assert "is half-written" in result.stderr
    assert run("ingest", "docs").exit_code == 0


def test_an_index_of_another_encoder_refuses_with_the_way_out(run: Run, folder: Path) -> None:
    run("ingest", "docs", "--encoder", "first")
    result = run("ask", "What?", "--encoder", "second")
    assert result.exit_code == 1
    assert "was made with the encoder 'first'" in result.stderr
    assert "rag reembed --encoder second" in result.stderr


def test_list_status_remove_and_delete(run: Run, folder: Path) -> None:
    (folder / "bad.pdf").write_text("no")
    run("ingest", "docs")
    assert [row["source"] for row in lines(run("list", "--json"))] == ["refunds.md", "sub/cats.txt"]
    assert "sub/cats.txt" in run("list").stdout
    [status] = lines(run("status", "--json"))
    assert (status["documents"], status["chunks"], status["encoder"]) == (2, 3, "hashing")
    assert "bad.pdf: " in run("status").stdout
    assert run("remove", "docs/sub").stdout.startswith("Removed 1 document from default.")
    assert [row["source"] for row in lines(run("list", "--json"))] == ["refunds.md"]
    assert run("delete", "default", "--yes").exit_code == 0
    assert not (Path("indexes") / "default").exists()
    assert (folder / "refunds.md").exists()


def test_show_prints_the_stored_text_and_a_wrong_name_gets_a_hint(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    assert run("show", "sub/cats.txt").stdout == "Cats sleep for sixteen hours a day. They are awake at dusk.\n"
    result = run("show", "cats.txt")
    assert result.exit_code == 1
    assert "did you mean 'sub/cats.txt'?" in result.stderr


def test_evaluate_questions_prints_our_row_and_the_bm25_row(run: Run, folder: Path, tmp_path: Path) -> None:
    run("ingest", "docs")
    questions = tmp_path / "q.jsonl"
    rows = [
        {
            "question": "How many hours a day do cats sleep?",
            "source": "sub/cats.txt",
            "quote": "Cats sleep for sixteen hours a day.",
        },
        {"question": "Which volcano erupted in Iceland?", "source": None, "quote": None},
    ]
    questions.write_text("\n".join(map(json.dumps, rows)))
    [result] = lines(run("evaluate", "questions", str(questions), "--json"))
    assert (result["file@3"], result["sentence_in_answer"], result["abstained"]) == (1.0, 1.0, 1.0)
    assert result["bm25"] == {"file@1": 1.0, "file@3": 1.0}
    table = run("evaluate", "questions", str(questions)).stdout
    assert "plain BM25" in table


def test_wrong_usage_is_exit_code_2(run: Run) -> None:
    assert run("search").exit_code == 2
    assert run("search", "x", "-k", "0").exit_code == 2


def test_an_unexpected_failure_is_one_line_and_no_trace(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(Index, "ingest", fail)
    result = run("ingest", "docs")
    assert result.exit_code == 1
    assert result.stderr.startswith("rag: something went wrong that should not: ZeroDivisionError: by nought")
    assert "Traceback" not in result.stderr


def test_a_real_process_shows_no_progress_bar_where_stderr_is_no_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rag.cli", "status", "--index", "nope"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rag: no index in 'indexes/nope'")


def test_deleting_an_index_leaves_everything_else_in_its_folder(run: Run, folder: Path) -> None:
    run("ingest", "docs", "--index", "mine")
    place = Path("indexes") / "mine"
    (place / "thesis.md").write_text("Years of work.")
    assert run("delete", "mine", "--yes").exit_code == 0
    assert [path.name for path in place.iterdir()] == ["thesis.md"]


def test_an_index_is_not_made_among_documents(run: Run, folder: Path) -> None:
    result = run("ingest", "docs", "--index", "./docs")
    assert result.exit_code == 1
    assert "holds other things" in result.stderr
    assert not (folder / "index.sqlite").exists()


def test_threads_about_a_deleted_index_stay_and_are_told(run: Run, folder: Path, tmp_path: Path) -> None:
    threads = Threads(tmp_path / "indexes" / FILE_NAME)
    for name in ("mine", "other"):
        run("ingest", "docs", "--index", name)
    with Index.open(tmp_path / "indexes" / "mine") as index:
        pipeline = rag.Pipeline(rag.Retriever(index), generator=QueuedGenerator(rag.Draft((), 0.0)))
        threads.add("ada", pipeline.ask("Who?"), index)
    assert run("delete", "other", "--yes").stdout.endswith("other.\n")
    told = run("delete", "mine", "--yes").stdout
    assert told.endswith("Threads about it stay in the page; remove them there.\n")
    assert len(threads.list("ada")) == 1
    run("ingest", "docs", "--index", "mine")
    (tmp_path / "indexes" / FILE_NAME).write_bytes(b"no file of threads" * 100)
    assert run("delete", "mine", "--yes").exit_code == 0


def test_an_index_gets_another_name_and_its_threads_follow(run: Run, folder: Path, tmp_path: Path) -> None:
    run("ingest", "docs", "--index", "mine")
    run("ingest", "docs", "--index", "other")
    threads = Threads(tmp_path / "indexes" / FILE_NAME)
    with Index.open(tmp_path / "indexes" / "mine") as index:
        pipeline = rag.Pipeline(rag.Retriever(index), generator=QueuedGenerator(rag.Draft((), 0.0)))
        threads.add("ada", pipeline.ask("Who?"), index)
    assert run("rename", "mine", "notes").stdout == "Renamed indexes/mine to indexes/notes.\n"
    assert [thread.index for thread in threads.list("ada")] == ["notes"]
    assert "refunds.md" in run("list", "--index", "notes").stdout
    for wrong, words in (("other", "there is a 'other' beside it already"), ("page.sqlite", "none of a database file")):
        refused = run("rename", "notes", wrong)
        assert (refused.exit_code, words in refused.stderr) == (1, True)
    assert "no index in 'indexes/mine'" in run("rename", "mine", "more").stderr
    (tmp_path / "indexes" / FILE_NAME).write_bytes(b"no file of threads" * 100)
    told = run("rename", "notes", "mine")
    assert (told.exit_code, "still name it 'notes'" in told.stderr) == (1, True)
    assert (tmp_path / "indexes" / "mine").is_dir()


def test_no_index_stands_where_the_page_keeps_its_file(run: Run, folder: Path) -> None:
    refused = run("ingest", "docs", "--index", "page.sqlite")
    assert (refused.exit_code, "none of a database file" in refused.stderr) == (1, True)
    assert not Path("indexes/page.sqlite").exists()


def test_a_file_of_another_program_is_neither_written_nor_deleted(run: Run, folder: Path) -> None:
    place = Path("indexes") / "other"
    place.mkdir(parents=True)
    with closing(sqlite3.connect(place / "index.sqlite")) as db:
        db.execute("create table mine (a)")
    before = (place / "index.sqlite").read_bytes()
    for words in (["ingest", "docs", "--index", "other"], ["list"], ["delete", "other", "--yes"]):
        result = run(*words)
        assert result.exit_code == 1
        assert "belongs to another program" in result.stderr
    assert (place / "index.sqlite").read_bytes() == before


def test_an_empty_path_is_not_this_folder(run: Run, folder: Path) -> None:
    result = run("ingest", "docs", "")
    assert result.exit_code == 1
    assert "write '.' for this folder" in result.stderr


def test_a_mistyped_path_makes_no_index(run: Run) -> None:
    result = run("ingest", "nowhere")
    assert result.exit_code == 1
    assert "there is nothing at 'nowhere'" in result.stderr
    assert not Path("indexes").exists()


@pytest.mark.parametrize("limit", ["nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(run: Run, folder: Path, limit: str) -> None:
    result = run("ingest", "docs", "--max-file-mb", limit)
    assert result.exit_code == 1
    assert "expected max_file_mb above 0" in result.stderr


@pytest.mark.parametrize("words", [["list"], ["show", "refunds.md"], ["status"], ["search", "cats"], ["ask", "cats?"]])
def test_a_damaged_index_is_one_line_from_every_command(run: Run, folder: Path, words: list[str]) -> None:
    run("ingest", "docs")
    file = Path("indexes") / "default" / "index.sqlite"
    data = file.read_bytes()
    with closing(sqlite3.connect(file)) as db:
        page = int(db.execute("pragma page_size").fetchone()[0])
    file.write_bytes(data[: 2 * page] + b"\xff" * (len(data) - 2 * page))
    result = run(*words)
    assert result.exit_code == 1
    assert "delete its folder and ingest again" in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_is_said_and_no_trace(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Index, "open", stop)
    result = run("search", "cats", "--index", "any")
    assert (result.exit_code, result.stderr.strip()) == (130, "Stopped.")


def test_what_has_no_file_of_its_own_is_in_the_status_too(run: Run, folder: Path) -> None:
    (folder / "gone.txt").symlink_to("nowhere")
    run("ingest", "docs")
    [status] = lines(run("status", "--json"))
    aside: Any = status["set_aside"]
    assert [entry["path"] for entry in aside] == ["gone.txt"]


def test_a_note_is_repeated_while_the_file_is_as_it_was(run: Run, folder: Path) -> None:
    (folder / "old.txt").write_bytes("Le café est fermé à midi, et la forêt est à côté.".encode("latin-1"))
    first, second = (lines(run("ingest", "docs", "--json"))[0]["notes"] for _ in range(2))
    assert first
    assert first == second


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_files_passages_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar(every_s=0) as bar:
        bar.update(Progress(1, 4, 7, "a.md"))
        bar.update(Progress(2, 4, 19, "b\x1b.md"))
    shown = terminal.getvalue()
    assert "2/4" in shown
    assert "19 passages, b\\x1b.md" in shown
    assert "<" in shown  # the time left
    assert "\x1b.md" not in shown


def test_a_dry_run_says_what_would_happen_and_changes_nothing(run: Run, folder: Path) -> None:
    result = run("ingest", "docs", "--dry-run")
    assert result.stdout.splitlines() == ["added     refunds.md", "added     sub/cats.txt"]
    assert result.stderr == "Would be: 2 added; of 2 files.\n"
    assert not Path("indexes").exists()
    run("ingest", "docs")
    (folder / "sub" / "cats.txt").rename(folder / "felines.txt")
    (folder / "refunds.md").write_text("# Refunds\n\nNone.\n")
    (folder / "dogs.txt").write_text("Dogs bark.")
    [told] = lines(run("ingest", "docs", "--dry-run", "--json"))
    assert told["changes"] == [
        {"kind": "moved", "path": "felines.txt", "detail": "sub/cats.txt"},
        {"kind": "added", "path": "dogs.txt", "detail": ""},
        {"kind": "edited", "path": "refunds.md", "detail": ""},
    ]
    assert "2 documents" in run("list").stderr
    report = run("ingest", "docs")
    assert report.stdout.startswith("2 files read, 0 unchanged, 1 moved, 0 set aside; ")


def test_what_has_gone_can_be_kept(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    (folder / "refunds.md").unlink()
    assert ", 1 unchanged, 0 set aside" in run("ingest", "docs", "--keep-missing").stdout
    assert ", 1 unchanged, 1 removed, 0 set aside" in run("ingest", "docs", "--rehash").stdout


def test_where_keeps_search_answers_and_lists_to_some_documents(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    assert [hit["source"] for hit in lines(run("search", "refund", "--json", "--where", "type=txt"))] == [
        "sub/cats.txt"
    ]
    assert [row["source"] for row in lines(run("list", "--json", "--where", "path=sub/**"))] == ["sub/cats.txt"]
    result = run("ask", "How long is a refund possible?", "--where", "type=pdf")
    assert result.stdout.splitlines()[-1] == "No document meets type=pdf: rag list --where shows which would."
    wrong = run("search", "refund", "--where", "type>pdf")
    assert (wrong.exit_code, wrong.stderr.startswith("rag: expected ")) == (1, True)


def test_doctor_says_what_holds_and_mends_what_does_not(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    result = run("doctor")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "All holds.")
    with closing(sqlite3.connect(Path("indexes/default/index.sqlite"))) as db:
        db.execute("update chunks set text = 'Something else.' where text like 'Cats%'")
        db.commit()
    broken = run("doctor")
    assert broken.exit_code == 1
    assert "FAILS   documents" in broken.stdout
    assert "sub/cats.txt: the passage at 0 is not the document's text there" in broken.stdout
    assert "rag doctor --repair mends" in broken.stderr
    mended = run("doctor", "--repair")
    assert (mended.exit_code, mended.stdout.splitlines()[-1]) == (0, "All holds.")
    assert "mended  documents" in mended.stdout
    [told] = lines(run("doctor", "--json"))
    assert told["holds"] is True


def test_doctor_compacts_only_what_holds(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    run("remove", "refunds.md")
    result = run("doctor", "--compact")
    assert result.exit_code == 0
    assert "Compacted: " in result.stdout
    data = b"".join(file.read_bytes() for file in Path("indexes/default").iterdir())
    assert (b"purchase" in data, b"sixteen" in data) == (False, True)
    with closing(sqlite3.connect(Path("indexes/default/index.sqlite"))) as db:
        db.execute("update chunks set start = start + 1")
        db.commit()
    refused = run("doctor", "--compact")
    assert (refused.exit_code, "Not compacted" in refused.stderr) == (1, True)


def test_reembed_takes_an_index_to_another_encoder(run: Run, folder: Path) -> None:
    run("ingest", "docs", "--encoder", "first")
    result = run("reembed", "--encoder", "second")
    assert result.exit_code == 0
    assert result.stdout.startswith("3 passages, 3 texts embedded, ")
    assert result.stdout.endswith("→ second\n")
    assert "encoder      second (fake)" in run("status").stdout
    assert run("search", "refund", "--encoder", "first").exit_code == 1
    assert lines(run("search", "refund", "--json"))[0]["source"] == "refunds.md"


def interrupted(words: list[str], *, after: str) -> tuple[int, str, str]:
    """Run `rag` in a process of its own, with the fake encoder, and send Ctrl-C once it embeds."""
    code = (
        "import os, signal, sys\n"
        "from rag import index as index_module\n"
        "from rag.cli import main\n"
        "from tests.fakes import HashingEncoder\n"
        "class Interrupted(HashingEncoder):\n"
        "    def encode_documents(self, texts):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        return super().encode_documents(texts)\n"
        "index_module.load_encoder = lambda name='hashing', **_: Interrupted(name=name)\n"
        "index_module.DEFAULT_ENCODER = 'hashing'\n"
        f"import rag.embedder, rag.ingest\nrag.embedder.TEXTS_PER_BATCH = rag.ingest.TEXTS_PER_BATCH = {after}\n"
        "main(sys.argv[1:])\n"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_leaves_with_a_summary_and_the_next_ingest_goes_on(run: Run, folder: Path) -> None:
    code, out, err = interrupted(["ingest", "docs"], after="1")
    assert code == 130
    assert out.startswith("0 files read, 0 unchanged, 0 set aside; 0 passages, 1 embedded")
    assert "Stopping after the batch at hand" in err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert "stopped before its end" in run("status").stdout
    assert run("ingest", "docs").stdout.startswith("2 files read, 0 unchanged, 0 set aside; 3 passages, 2 embedded")


def test_ctrl_c_in_reembed_keeps_what_was_embedded(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    code, out, _ = interrupted(["reembed", "--encoder", "second"], after="1")
    assert (code, out) == (130, "Stopped: 1 texts embedded. The index still serves with hashing.\n")
    assert "changing to  second: rag reembed goes on with it" in run("status").stdout
    assert run("reembed", "--encoder", "second").stdout.startswith("3 passages, 2 texts embedded, ")


def test_a_second_writer_is_told_who_writes_and_since_when(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    with Index.open("indexes/default") as opened, opened._writing("ingest"):
        result = run("ingest", "docs")
    assert result.exit_code == 1
    assert f"process {os.getpid()} (rag ingest, since " in result.stderr
    assert "wait for it with --wait" in result.stderr
    assert run("ingest", "docs", "--wait").exit_code == 0


def test_ctrl_c_while_waiting_for_another_writer_ends_at_once(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    code = (
        "import os, signal, sys\n"
        "from rag import index as index_module\n"
        "from rag.cli import main, options\n"
        "from tests.fakes import HashingEncoder\n"
        "index_module.load_encoder = lambda name='hashing', **_: HashingEncoder(name=name)\n"
        "def told(holder):\n"
        "    print('waiting', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "import rag.cli.indexing\n"
        "rag.cli.indexing.waiting = lambda wait: {'wait_s': float('inf'), 'on_wait': told}\n"
        "main(sys.argv[1:])\n"
    )
    with Index.open("indexes/default") as opened, opened._writing("ingest"):
        done = subprocess.run(
            [sys.executable, "-c", code, "ingest", "docs", "--wait"],
            capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "waiting\n", "\nStopped.\n")


def test_a_server_that_is_down_gets_the_extractive_answer_and_a_line_that_says_so(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    asked = ("ask", "How many hours a day do cats sleep?", "--generator", f"openai:m@http://127.0.0.1:{port}")
    result = run(*asked)
    assert result.exit_code == 0
    assert "Cats sleep for sixteen hours a day.[1]" in result.stdout
    assert f"127.0.0.1:{port}" in result.stderr
    assert "These are the documents' own words" in result.stderr
    assert "(extractive, confidence" in result.stderr
    answer = json.loads(run(*asked, "--json").stdout)
    assert answer["generator"] == "extractive"
    assert answer["notes"][0].startswith("These are the documents' own words")


def test_a_generator_of_no_known_form_is_one_line_and_exit_1(run: Run, folder: Path) -> None:
    run("ingest", "docs")
    result = run("ask", "cats?", "--generator", "llama")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("rag: expected a generator in the form extractive, transformers:")


def test_calibrated_on_own_questions_max_error_is_no_estimate_any_more(run: Run, folder: Path, tmp_path: Path) -> None:
    run("ingest", "docs")
    asked = ("ask", "How many hours a day do cats sleep?", "--max-error", "0.2")
    assert "is an estimate here: rag calibrate FILE makes it a bound." in run(*asked).stderr
    rows = [
        {
            "question": "How many hours do cats sleep?",
            "source": "sub/cats.txt",
            "quote": "Cats sleep for sixteen hours",
        },
        {"question": "When are cats awake?", "source": "sub/cats.txt", "quote": "They are awake at dusk."},
        {"question": "Who won the cup?", "source": None, "quote": None},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 3))
    result = run("calibrate", "mine.jsonl")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("9 questions; answered whatever the confidence, ")
    calibrated = json.loads(run("calibrate", "mine.jsonl", "--json").stdout)
    assert [row["max_error"] for row in calibrated["shares"]] == [0.05, 0.1, 0.2]
    assert calibrated["shares"][0] == {"max_error": 0.05, "answered": 0, "wrong": 0}  # nine are too few
    assert "estimate" not in run(*asked).stderr
