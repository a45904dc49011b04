"""Threads come back whole, keep to their owner, number a passage once, and say when their index is another."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rag
from rag.errors import IndexDamagedError, IndexMismatchError, UsageError
from rag.index import Index
from rag.saved import IndexState, replay
from rag.types import Answer, Citation, Document, Hit, Sentence, ShortAnswer
from tests.fakes import HashingEncoder
from tests.test_saved import answer_of, fields_of_answers, put
from ui.keeping import FILE_NAME, PageFile
from ui.threads import Numbering, Threads, answer_text, made_anew, read_answer

BEES, APPLES = "Bees make honey.", "Apples grow on trees."
ADA, BEN = "ada", "ben"


@pytest.fixture
def threads(tmp_path: Path) -> Threads:
    return Threads(tmp_path / "pages" / FILE_NAME)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pages" / FILE_NAME


@pytest.fixture
def asked(index: Index) -> Index:
    put(index, bees=BEES, apples=APPLES)
    return index


def said(index: Index, question: str, quote: str = BEES, source: str = "bees") -> Answer:
    return replace(answer_of(index, (source, quote), read=("apples", "bees")), question=question)


# --- what was kept comes back


@given(st.builds(Answer, **fields_of_answers))
def test_an_answer_as_text_comes_back_whole(answer: Answer) -> None:
    assert read_answer(answer_text(answer)) == answer


def test_an_answer_keeps_what_is_no_number_and_what_is_no_text(asked: Index) -> None:
    odd = replace(said(asked, "what \ud800?"), confidence=math.nan)
    back = read_answer(answer_text(odd))
    assert math.isnan(back.confidence)
    assert back.question == "what \N{REPLACEMENT CHARACTER}?"
    assert replace(back, confidence=0.9, question="") == replace(odd, confidence=0.9, question="")


def test_a_thread_has_its_turns_in_order_with_their_answers(threads: Threads, asked: Index) -> None:
    first, second = (
        said(asked, "Who makes honey?"),
        replace(said(asked, "And apples?", APPLES, "apples"), rewritten="x"),
    )
    id_ = threads.add(ADA, first, asked)
    assert threads.add(ADA, second, asked, thread=id_) == id_
    turns = threads.turns(ADA, id_)
    assert [turn.number for turn in turns] == [1, 2]
    assert [turn.answer for turn in turns] == [first, second]
    [thread] = threads.list(ADA)
    assert (thread.id, thread.index, thread.title, thread.n_turns) == (id_, "index", "Who makes honey?", 2)
    assert thread == threads.thread(ADA, id_)


def test_nearest_passages_of_an_answer_that_abstained_come_back(threads: Threads, asked: Index) -> None:
    chunk = rag.Chunk("bees", BEES, 0, len(BEES), page=2, section="A > B", title="Bees", breaks=(3,))
    silent = Answer("?", rag.pipeline.NOT_FOUND, (), (), True, 0.1, "fake", (Hit(7, chunk, 0.25, 1),))
    id_ = threads.add(ADA, silent, asked)
    assert threads.turns(ADA, id_)[0].answer.nearest == silent.nearest


def test_without_a_file_there_are_no_threads_and_none_is_made_by_looking(threads: Threads, file: Path) -> None:
    assert threads.list(ADA) == ()
    assert threads.remove_all(index="index") == 0
    threads.rename_index("a", "b")
    for look in (threads.thread, threads.turns):
        with pytest.raises(UsageError, match="there is no thread 1 of yours"):
            look(ADA, 1)
    assert not file.exists()


# --- lists


def test_the_thread_that_was_changed_last_comes_first_and_pages_follow_each_other(
    threads: Threads, asked: Index
) -> None:
    ids = [threads.add(ADA, said(asked, f"Question {i}?"), asked) for i in range(5)]
    threads.add(ADA, said(asked, "One more?"), asked, thread=ids[1])
    newest = [ids[1], ids[4], ids[3], ids[2], ids[0]]
    assert [thread.id for thread in threads.list(ADA)] == newest
    pages = [[thread.id for thread in threads.list(ADA, limit=2, offset=offset)] for offset in (0, 2, 4, 6)]
    assert pages == [newest[:2], newest[2:4], newest[4:], []]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("HONEY", [1]),
        ("straße", [3]),
        ("STRASSE", [3]),
        ("who bees", [1]),
        ("bees honey nothing", []),
        ("winter", [2]),  # stands in the rewritten question alone
        ("grocery", [2]),  # in the title alone
        ("%", []),
        ("  ", [3, 2, 1]),
    ],
)
def test_each_word_is_searched_in_title_and_questions(
    threads: Threads, asked: Index, search: str, found: list[int]
) -> None:
    threads.add(ADA, said(asked, "Who of the bees makes honey?"), asked)
    threads.add(ADA, said(asked, "Apples?"), asked)
    threads.add(ADA, replace(said(asked, "and then?"), rewritten="Apples in winter?"), asked, thread=2)
    threads.rename(ADA, 2, "Grocery list")
    threads.add(ADA, said(asked, "Wo ist die Straße?"), asked)
    assert [thread.id for thread in threads.list(ADA, search=search)] == found


def test_a_thread_is_named_by_its_first_question_until_it_is_renamed(threads: Threads, asked: Index) -> None:
    id_ = threads.add(ADA, said(asked, f"Who\n  makes {'much ' * 40}honey?"), asked)
    assert threads.thread(ADA, id_).title.startswith("Who makes much much")
    assert len(threads.thread(ADA, id_).title) <= 120
    threads.rename(ADA, id_, " Honey\nand bees ")
    assert threads.thread(ADA, id_).title == "Honey and bees"
    threads.rename(ADA, id_, " ")
    assert threads.thread(ADA, id_).title.startswith("Who makes much")


# --- whose they are


def test_an_owner_never_sees_nor_touches_the_thread_of_another(threads: Threads, asked: Index) -> None:
    id_ = threads.add(ADA, said(asked, "Secret?"), asked)
    assert threads.list(BEN) == threads.list(BEN, search="secret") == ()
    for act in (
        lambda: threads.thread(BEN, id_),
        lambda: threads.turns(BEN, id_),
        lambda: threads.rename(BEN, id_, "mine"),
        lambda: threads.remove(BEN, id_),
        lambda: threads.add(BEN, said(asked, "?"), asked, thread=id_),
    ):
        with pytest.raises(UsageError, match=f"there is no thread {id_} of yours"):
            act()
    assert threads.remove_all(index="index", owner=BEN) == 0
    assert [(thread.title, thread.n_turns) for thread in threads.list(ADA)] == [("Secret?", 1)]


@pytest.mark.parametrize("id_", [0, -1, 2**63, 2**80])
def test_an_id_that_no_thread_has_is_said(threads: Threads, asked: Index, id_: int) -> None:
    threads.add(ADA, said(asked, "?"), asked)
    with pytest.raises(UsageError, match=f"there is no thread {id_} of yours"):
        threads.turns(ADA, id_)


# --- indexes


def test_threads_of_an_index_are_listed_and_removed_by_its_name(tmp_path: Path, threads: Threads, asked: Index) -> None:
    with Index.create(tmp_path / "other", encoder=HashingEncoder()) as other:
        put(other, bees=BEES, apples=APPLES)
        of_other = threads.add(ADA, said(other, "Other?"), other)
        mine, yours = (threads.add(owner, said(asked, "Mine?"), asked) for owner in (ADA, BEN))
        with pytest.raises(UsageError, match=r"thread \d asks the index 'other', not 'index': begin a new one"):
            threads.add(ADA, said(asked, "?"), asked, thread=of_other)
    assert [thread.id for thread in threads.list(ADA, index="index")] == [mine]
    threads.rename_index("index", "books")
    assert [thread.id for thread in threads.list(BEN, index="books")] == [yours]
    assert threads.remove_all(index="books") == 2
    assert [thread.id for thread in threads.list(ADA)] == [of_other]


def test_a_thread_tells_that_its_index_was_made_anew_under_its_name(tmp_path: Path, threads: Threads) -> None:
    folder = tmp_path / "handbook"
    with Index.create(folder, encoder=HashingEncoder()) as index:
        put(index, bees=BEES, apples=APPLES)
        id_ = threads.add(ADA, said(index, "Who makes honey?"), index)
        put(index, cows="Cows give milk.")
        assert not made_anew(threads.turns(ADA, id_), index)  # it grew, and is the same
    Index.delete(folder)
    with Index.create(folder, encoder=HashingEncoder()) as index:
        put(index, bees=BEES, apples=APPLES)
        assert made_anew(threads.turns(ADA, id_), index)
        threads.add(ADA, said(index, "Who makes honey?"), index, thread=id_)
        assert not made_anew(threads.turns(ADA, id_), index)  # it goes on with the new one
    assert not made_anew([], index)


def test_an_old_thread_marks_its_passages_and_says_what_became_of_them(threads: Threads, asked: Index) -> None:
    id_ = threads.add(ADA, said(asked, "Who makes honey?"), asked)
    [turn] = threads.turns(ADA, id_)
    again = replay(turn.saved, asked)
    assert again.holds
    [citation] = again.answer.citations
    assert asked.document("bees").text[citation.start : citation.end] == citation.quote == BEES
    put(asked, bees=f"In summer. {BEES}")
    [source] = [source for source in replay(turn.saved, asked).sources if source.quotes]
    assert (source.state, source.quotes[0].state, source.quotes[0].start) == ("changed", "moved", 11)


def test_a_source_that_changed_before_the_answer_was_kept_is_not_vouched_for(threads: Threads, asked: Index) -> None:
    state, answer = IndexState.of(asked), said(asked, "Who makes honey?")
    put(asked, bees="Wasps make none.")
    id_ = threads.add(ADA, answer, asked, asked_of=state)
    [turn] = threads.turns(ADA, id_)
    assert (turn.state, turn.sources["bees"]) == (state, None)
    assert turn.sources["apples"] is not None


# --- numbers


def cited(marker: int, source: str, start: int, end: int, quote: str | None = None) -> Citation:
    return Citation(marker, source, None, None, None, start, end, quote or f"{source} {start} to {end}")


def citing(*citations: Citation) -> Answer:
    sentences = tuple(Sentence(c.quote, (c.marker,), True) for c in citations)
    return Answer("?", "", sentences, citations, not citations, 0.9, "fake", ())


def test_a_passage_keeps_its_number_in_the_whole_thread() -> None:
    numbering = Numbering([citing(cited(1, "a", 0, 9), cited(2, "b", 0, 9))])
    again = numbering.numbered(citing(cited(1, "c", 0, 9), cited(2, "b", 0, 9)))
    assert [(c.marker, c.source) for c in again.citations] == [(3, "c"), (2, "b")]
    assert [s.citations for s in again.sentences] == [(3,), (2,)]
    assert [passage.source for passage in numbering.passages] == ["a", "b", "c"]


def test_another_text_at_the_same_place_is_another_passage() -> None:
    numbering = Numbering([citing(cited(1, "a", 0, 4, "Bees"))])
    assert numbering.number(cited(1, "a", 0, 4, "Cows")) == 2
    assert numbering.number(cited(9, "a", 0, 4, "Bees")) == 1


def test_the_short_answer_goes_with_its_footnote_and_a_near_miss_keeps_its_number() -> None:
    numbering = Numbering([citing(cited(1, "a", 0, 9))])
    short = replace(citing(cited(1, "b", 0, 9)), short_answer=ShortAnswer("b", 1, 0, 1))
    assert numbering.numbered(short).short_answer == ShortAnswer("b", 2, 0, 1)
    silent = replace(citing(), near_miss=cited(1, "z", 0, 9))
    assert numbering.numbered(silent) == silent
    assert len(numbering.passages) == 2


spans = st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(3, 5))


@given(st.lists(st.lists(spans, unique=True, max_size=4), max_size=5))
def test_numbers_count_from_one_in_the_order_of_first_coming(turns: list[list[tuple[str, int, int]]]) -> None:
    answers = [citing(*(cited(n, *span) for n, span in enumerate(turn, start=1))) for turn in turns]
    first = list(dict.fromkeys(span for turn in turns for span in turn))
    numbering = Numbering()
    for answer, turn in zip(answers, turns, strict=True):
        assert [c.marker for c in numbering.numbered(answer).citations] == [first.index(span) + 1 for span in turn]
    assert [(p.source, p.start, p.end) for p in numbering.passages] == first
    assert Numbering(answers).passages == numbering.passages


# --- the file


def test_what_is_removed_leaves_nothing_in_the_files(threads: Threads, asked: Index, file: Path) -> None:
    def left() -> bytes:
        return b"".join(path.read_bytes() for path in file.parent.iterdir())

    kept = threads.add(ADA, said(asked, "Apples?", APPLES, "apples"), asked)
    id_ = threads.add(ADA, said(asked, "Where is xyzzy buried?"), asked)
    assert b"xyzzy" in left()
    threads.remove(ADA, id_)
    assert b"xyzzy" not in left()
    assert [thread.id for thread in threads.list(ADA)] == [kept]
    assert threads.add(ADA, said(asked, "?"), asked) == id_ + 1  # an id is never given twice


def test_many_threads_at_once_lose_nothing(threads: Threads, asked: Index) -> None:
    shared = threads.add(ADA, said(asked, "First?"), asked)
    answer, start, faults = said(asked, "More?"), Barrier(6), list[BaseException]()

    def work(n: int) -> None:
        try:
            start.wait()
            for _ in range(5):
                threads.add(ADA, answer, asked, thread=shared)
                threads.remove(ADA, threads.add(ADA, answer, asked))
                threads.list(ADA, search="more")
        except BaseException as exc:
            faults.append(exc)

    workers = [Thread(target=work, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not faults
    assert [turn.number for turn in threads.turns(ADA, shared)] == list(range(1, 32))
    assert [thread.id for thread in threads.list(ADA)] == [shared]


def test_several_processes_begin_the_same_file(asked: Index, threads: Threads, file: Path) -> None:
    code = (
        "import sys; from dataclasses import replace; from rag.index import Index; from ui.threads import Threads\n"
        "from tests.fakes import HashingEncoder; from tests.test_saved import answer_of\n"
        "index = Index.open(sys.argv[1], encoder=HashingEncoder())\n"
        "answer = replace(answer_of(index, ('bees', 'Bees make honey.')), question='Who?')\n"
        "for _ in range(5): Threads(sys.argv[2]).add('ada', answer, index)"
    )
    run = [sys.executable, "-c", code, str(asked.path), str(file)]
    processes = [subprocess.Popen(run, stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[1] for process in processes] == [b"", b"", b""]
    assert len(threads.list(ADA)) == 15


def test_a_file_of_another_program_is_left_alone_and_said(threads: Threads, file: Path) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db:
        db.execute("create table theirs (x)")
    for _ in range(2):
        with pytest.raises(IndexMismatchError, match="belongs to another program: move it away"):
            threads.list(ADA)
    with pytest.raises(IndexMismatchError, match="belongs to another program"), PageFile(file).writing():
        pass
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("select name from sqlite_master").fetchall() == [("theirs",)]


def test_a_newer_format_says_to_upgrade(threads: Threads, asked: Index, file: Path) -> None:
    threads.add(ADA, said(asked, "?"), asked)
    with closing(sqlite3.connect(file)) as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(IndexMismatchError, match="has format 99 of threads and settings, this version reads up to 1"):
        threads.list(ADA)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"torn" * 2000])
def test_a_damaged_file_is_one_sentence(threads: Threads, file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(IndexDamagedError, match=r"holds no threads and settings that can be read .*: move it away"):
        threads.list(ADA)


@pytest.mark.parametrize("answer", ["{}", "no json", "[1]", '{"question": 1}', "null"])
def test_an_answer_of_another_form_is_one_sentence(threads: Threads, asked: Index, file: Path, answer: str) -> None:
    id_ = threads.add(ADA, said(asked, "?"), asked)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("update turns set answer = ?", [answer])
    with pytest.raises(IndexDamagedError, match=f"thread {id_} has another form"):
        threads.turns(ADA, id_)
    assert threads.list(ADA)  # the list stands


@pytest.mark.parametrize("sources", ["[]", '{"bees": "no hex"}', '{"bees": 5}'])
def test_hashes_of_another_form_are_one_sentence(threads: Threads, asked: Index, file: Path, sources: str) -> None:
    id_ = threads.add(ADA, said(asked, "?"), asked)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("update turns set sources = ?", [sources])
    with pytest.raises(IndexDamagedError, match=f"thread {id_} has another form"):
        threads.turns(ADA, id_)


def test_a_place_that_cannot_be_a_file_is_said(asked: Index, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="cannot make the folder"):
        Threads(tmp_path / "taken" / FILE_NAME).add(ADA, said(asked, "?"), asked)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be used"):
        Threads(tmp_path / "folder").list(ADA)


def test_names_and_questions_that_are_no_text_are_kept(threads: Threads, asked: Index) -> None:
    id_ = threads.add("a\udc80", said(asked, "wh\udc80t?"), asked)
    assert threads.thread("a\udc80", id_).title == "wh\N{REPLACEMENT CHARACTER}t?"
    threads.rename("a\udc80", id_, "\udc80")
    assert threads.thread("a\udc80", id_).title == "\N{REPLACEMENT CHARACTER}"


def test_a_document_is_quoted_though_its_name_is_odd(threads: Threads, index: Index) -> None:
    name = "it's; drop table turns --\u2028.md"
    index.add([Document(name, BEES)])
    answer = answer_of(index, (name, BEES))
    [turn] = threads.turns(ADA, threads.add(ADA, answer, index))
    assert turn.answer.citations[0].source == name
    assert json.loads(answer_text(answer))["citations"][0]["source"] == name
