"""Saved answers: they come back as they were, and say truly what became of the documents they were given from."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from threading import Barrier, Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rag
from rag import index as index_module
from rag.cli import main
from rag.encoders import Encoder
from rag.errors import IndexDamagedError, IndexMismatchError, UsageError
from rag.index import Index
from rag.locks import write_lock
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from rag.saved import IndexState, Near, QuoteNow, SavedAnswers, SourceNow, replay, replay_all
from rag.types import Answer, Chunk, Citation, Document, Hit, Sentence, ShortAnswer
from tests.fakes import HashingEncoder

BEES, APPLES = "Bees make honey.", "Apples grow on trees."


@pytest.fixture
def answers(index: Index) -> SavedAnswers:
    return SavedAnswers(index.path)


def answer_of(index: Index, *quoted: tuple[str, str], read: tuple[str, ...] = ()) -> Answer:
    """An answer that cites (source, quote)s, each at its first place; and has read the whole of other documents."""
    citations = []
    for marker, (source, quote) in enumerate(quoted, start=1):
        start = index.document(source).text.index(quote)
        citations.append(Citation(marker, source, None, None, None, start, start + len(quote), quote))
    texts = [(source, index.document(source).text) for source in read]
    hits = [Hit(i, Chunk(name, text, 0, len(text)), 0.5, i) for i, (name, text) in enumerate(texts, start=1)]
    sentences = tuple(Sentence(c.quote, (c.marker,), True) for c in citations)
    text = " ".join(s.text for s in sentences) or "Not in these documents."
    return Answer("what?", text, sentences, tuple(citations), not citations, 0.9, "extractive", tuple(hits))


def put(index: Index, **texts: str) -> None:
    index.add(Document(source, text) for source, text in texts.items())


# --- what was saved comes back

text = st.text(max_size=40)
numbers = st.integers(0, 2**40)
floats = st.floats(allow_nan=False)
citations = st.builds(
    Citation, numbers, text, st.none() | text, st.none() | numbers, st.none() | text, numbers, numbers, text
)
sentences = st.builds(Sentence, text, st.lists(numbers, max_size=3).map(tuple), st.booleans())
hits = st.builds(Hit, numbers, st.builds(Chunk, text, text, numbers, numbers), floats, numbers)
fields_of_answers: dict[str, st.SearchStrategy[Any]] = {
    "question": text,
    "text": text,
    "sentences": st.lists(sentences, max_size=3).map(tuple),
    "citations": st.lists(citations, max_size=3).map(tuple),
    "abstained": st.booleans(),
    "confidence": floats,
    "generator": text,
    "nearest": st.lists(hits, max_size=3).map(tuple),
    "short_answer": st.none() | st.builds(ShortAnswer, text, numbers, numbers, numbers),
    "rewritten": st.none() | text,
    "near_miss": st.none() | citations,
    "notes": st.lists(text, max_size=2).map(tuple),
    "timings_ms": st.dictionaries(text, floats, max_size=3),
}


def test_the_answers_below_fill_every_field_there_is() -> None:
    assert set(fields_of_answers) == {field.name for field in fields(Answer)}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=st.builds(Answer, **fields_of_answers))
def test_any_answer_comes_back_as_it_was(index: Index, answers: SavedAnswers, answer: Answer) -> None:
    saved = answers.load(answers.save(answer, index))
    assert saved.answer == replace(answer, nearest=())
    places = [Near(hit.chunk.doc_id, hit.chunk.start, hit.chunk.end, hit.score) for hit in answer.nearest]
    assert saved.nearest == tuple(places)
    cited = {*(c.source for c in answer.citations), *([answer.near_miss.source] if answer.near_miss else [])}
    assert set(saved.sources) == cited | {place.source for place in places}
    assert all(saved.id in answers.citing(source) for source in cited)


def test_what_is_no_number_and_what_is_no_text_stop_nothing(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES)
    odd = replace(answer_of(index, ("bees", BEES)), question="who \udcff?", confidence=math.nan, notes=("\ud800",))
    saved = answers.load(answers.save(odd, index)).answer
    assert (saved.question, saved.notes) == ("who \N{REPLACEMENT CHARACTER}?", ("\N{REPLACEMENT CHARACTER}",))
    assert math.isnan(saved.confidence)


def test_it_is_kept_with_hashes_encoder_and_change(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES)
    saved = answers.load(answers.save(answer_of(index, ("bees", "honey")), index))
    digest = "a62d59fbca441b66779935bcb2056ea2896a1d975c4c4c5bf086299bfdef45ed"  # sha256sum's
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", saved.saved_at)
    assert saved.version == rag.__version__
    assert {source: (sha256 or b"").hex() for source, sha256 in saved.sources.items()} == {"bees": digest}
    assert (saved.state.encoder, saved.state.space) == ("hashing", "space-of-hashing-256-64")
    with index.reading() as view:
        assert (saved.state.change, saved.state.token) == view.store.last_change()


def test_nothing_saved_is_no_error_and_makes_no_file(index: Index, answers: SavedAnswers) -> None:
    assert (answers.list(), answers.citing("bees")) == ((), ())
    for unknown in (1, 0, -1, 2**63):
        for use in (answers.load, answers.delete):
            with pytest.raises(UsageError, match=rf"no saved answer {unknown} in index 'index': rag replay lists"):
                use(unknown)
    assert not (index.path / "answers.sqlite").exists()


def test_ids_count_from_one_and_never_come_again(index: Index, answers: SavedAnswers) -> None:
    answer = answer_of(index)
    assert [answers.save(answer, index) for _ in range(3)] == [1, 2, 3]
    answers.delete(3)
    answers.delete(1)
    assert answers.save(answer, index) == 4
    assert [saved.id for saved in answers.list()] == [2, 4]
    with pytest.raises(UsageError, match="no saved answer 3"):
        answers.delete(3)


def test_a_document_names_the_answers_that_quote_it(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES, apples=APPLES)
    answers.save(answer_of(index, ("bees", "honey"), ("bees", "Bees"), read=("apples",)), index)
    answers.save(answer_of(index, ("apples", "trees")), index)
    silent = answer_of(index, read=("apples",))
    answers.save(replace(silent, near_miss=answer_of(index, ("bees", BEES)).citations[0]), index)
    assert (answers.citing("bees"), answers.citing("apples"), answers.citing("cows")) == ((1, 3), (2,), ())
    answers.delete(1)
    assert answers.citing("bees") == (3,)


# --- what became of the sources


def test_with_the_documents_as_they_were_the_answer_is_reproduced_from_them(
    index: Index, answers: SavedAnswers, docs: Path, fake_reading: None
) -> None:
    index.ingest(docs)
    answer = Pipeline(Retriever(index), min_confidence=0).ask("What do bees make?")
    again = replay(answers.load(answers.save(answer, index)), index)
    assert again.holds
    assert not again.index_changed
    assert again.answer == replace(answer, nearest=())
    assert {source.state for source in again.sources} == {"unchanged"}
    for citation in again.answer.citations:
        assert index.document(citation.source).text[citation.start : citation.end] == citation.quote


def test_the_same_text_ingested_again_is_unchanged_though_the_index_is_not(
    index: Index, answers: SavedAnswers, docs: Path
) -> None:
    index.ingest(docs)
    saved = answers.load(answers.save(answer_of(index, ("bees.txt", "honey")), index))
    for content in ("Wasps build nests.", BEES):
        (docs / "bees.txt").write_text(content)
        index.ingest(docs)
    again = replay(saved, index)
    assert IndexState.of(index).change > saved.state.change
    assert again.sources == (SourceNow("bees.txt", "unchanged", (QuoteNow(1, "stands", 10, 15),)),)
    assert again.index_changed
    assert again.holds


def test_of_a_changed_document_each_quote_is_told(index: Index, answers: SavedAnswers) -> None:
    put(index, bees="Bees fly. Bees make honey. Bees dance.")
    quoted = [("bees", quote) for quote in ("Bees fly.", "make honey", "Bees dance.")]
    saved = answers.load(answers.save(answer_of(index, *quoted), index))
    put(index, bees="Bees fly. All bees make honey.")
    again = replay(saved, index)
    quotes = QuoteNow(1, "stands", 0, 9), QuoteNow(2, "moved", 19, 29), QuoteNow(3, "gone", None, None)
    assert again.sources == (SourceNow("bees", "changed", quotes),)
    assert index.document("bees").text[19:29] == "make honey"
    assert not again.holds
    assert again.answer == saved.answer


@pytest.mark.parametrize(
    ("text", "start"),
    [("ab ab -- ab", 3), ("ab -- -- ab", 9), ("ab -- -- --", 0), ("-- -- - ab", 8), ("-- - ab ab", 5)],
)
def test_a_quote_has_moved_to_the_nearest_of_its_kind(
    index: Index, answers: SavedAnswers, text: str, start: int
) -> None:
    put(index, one="-- -- ab --")
    saved = answers.load(answers.save(answer_of(index, ("one", "ab")), index))
    put(index, one=text)
    assert replay(saved, index).sources[0].quotes == (QuoteNow(1, "moved", start, start + 2),)


def test_a_document_that_only_grew_has_changed_though_its_quotes_stand(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES)
    saved = answers.load(answers.save(answer_of(index, ("bees", BEES)), index))
    put(index, bees=f"{BEES} So do some wasps.")
    again = replay(saved, index)
    assert again.sources == (SourceNow("bees", "changed", (QuoteNow(1, "stands", 0, 16),)),)
    assert not again.holds


def test_a_removed_document_takes_its_quotes_along_but_the_saved_answer_keeps_them(
    index: Index, answers: SavedAnswers
) -> None:
    put(index, bees=BEES, apples=APPLES)
    saved = answers.load(answers.save(answer_of(index, ("bees", "honey"), ("apples", "trees")), index))
    index.remove("bees")
    again = replay(saved, index)
    assert again.sources == (
        SourceNow("bees", "removed", (QuoteNow(1, "gone", None, None),)),
        SourceNow("apples", "unchanged", (QuoteNow(2, "stands", 15, 20),)),
    )
    assert not again.holds
    assert again.answer.citations[0].quote == "honey"


def test_what_was_read_but_not_cited_is_told_and_breaks_nothing(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES, apples=APPLES)
    saved = answers.load(answers.save(answer_of(index, ("bees", BEES), read=("apples", "bees")), index))
    put(index, apples="Apples are red.")
    again = replay(saved, index)
    assert [(source.source, source.state) for source in again.sources] == [("bees", "unchanged"), ("apples", "changed")]
    assert again.sources[1].quotes == ()
    assert again.holds


def test_silence_holds_until_anything_in_the_index_changes(index: Index, answers: SavedAnswers) -> None:
    put(index, apples=APPLES)
    near_miss = answer_of(index, ("apples", "trees")).citations[0]
    silent = replace(answer_of(index, read=("apples",)), near_miss=near_miss)
    saved = answers.load(answers.save(silent, index))
    before = replay(saved, index)
    assert (before.holds, before.index_changed, before.answer.near_miss) == (True, False, near_miss)
    put(index, bees=BEES)
    after = replay(saved, index)
    assert (after.holds, after.index_changed) == (False, True)
    assert after.sources == (SourceNow("apples", "unchanged", (QuoteNow(1, "stands", 15, 20),)),)


def test_an_ingest_between_asking_and_saving_counts_as_a_change(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES, apples=APPLES)
    asked_of = IndexState.of(index)
    answer = answer_of(index, ("bees", BEES), read=("apples",))
    put(index, bees=f"All {BEES}")
    saved = answers.load(answers.save(answer, index, asked_of=asked_of))
    again = replay(saved, index)
    assert saved.sources["bees"] is None
    assert again.sources[0] == SourceNow("bees", "changed", (QuoteNow(1, "moved", 4, 20),))
    assert again.index_changed


def test_an_index_made_anew_is_another_though_its_numbers_are_the_same(
    tmp_path: Path, index: Index, answers: SavedAnswers, encoder: HashingEncoder
) -> None:
    put(index, bees=BEES)
    saved = answers.load(answers.save(answer_of(index), index))
    with Index.create(tmp_path / "other", encoder=encoder) as other:
        put(other, bees=BEES)
        assert IndexState.of(other).change == saved.state.change
        assert replay(saved, other).index_changed


def test_many_are_replayed_as_each_alone(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES, apples=APPLES)
    for quoted in (("bees", "honey"), ("apples", "trees")):
        answers.save(answer_of(index, quoted), index)
    index.remove("bees")
    assert replay_all(answers.list(), index) == tuple(replay(saved, index) for saved in answers.list())
    assert [again.holds for again in replay_all(answers.list(), index)] == [False, True]


# --- files, threads and other programs


def test_many_save_at_once_and_each_gets_an_id_of_its_own(index: Index) -> None:
    put(index, bees=BEES)
    barrier, ids = Barrier(8), dict[int, str]()

    def save(thread: int) -> None:
        barrier.wait()  # the first save makes the file: all of them try
        for i in range(4):
            question = f"{thread}.{i}"
            answer = replace(answer_of(index, ("bees", "honey")), question=question)
            ids[SavedAnswers(index.path).save(answer, index)] = question

    threads = [Thread(target=save, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == list(range(1, 33))
    saved = SavedAnswers(index.path).list()
    assert {one.id: one.answer.question for one in saved} == ids
    assert all(len(one.answer.citations) == len(one.sources) == 1 for one in saved)


def test_saving_waits_for_no_ingest(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES)
    with write_lock(index.path, doing="ingest"), closing(sqlite3.connect(index.path / "index.sqlite")) as writer:
        writer.execute("begin immediate")
        writer.execute("delete from documents")
        assert answers.save(answer_of(index, ("bees", BEES)), index) == 1
        writer.rollback()
    assert replay(answers.load(1), index).holds


def test_one_who_holds_the_file_for_too_long_is_named(
    index: Index, answers: SavedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.save(answer_of(index), index)
    monkeypatch.setattr("rag.sidefile._PATIENCE_S", 0)
    with closing(sqlite3.connect(index.path / "answers.sqlite", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(UsageError, match=r"answers\.sqlite' cannot be used \(database is locked\): make room"):
            answers.save(answer_of(index), index)
    assert len(answers.list()) == 1


def test_a_save_that_fails_leaves_nothing(index: Index, answers: SavedAnswers) -> None:
    put(index, bees=BEES)
    answer = answer_of(index, ("bees", BEES))
    unfit = replace(answer, citations=(*answer.citations, replace(answer.citations[0], quote=None)))  # type: ignore[arg-type]
    with pytest.raises(IndexDamagedError, match="NOT NULL constraint failed"):
        answers.save(unfit, index)
    assert answers.list() == ()
    assert answers.save(answer, index) == 1


def test_nothing_of_a_deleted_answer_stays_in_the_file(index: Index, answers: SavedAnswers) -> None:
    chance = Random(13)  # with which SQLite, left to itself, keeps a copy of a row that it moved to another page
    kept: dict[int, str] = {}
    for i in range(70):
        if kept and chance.random() < 0.4:
            answers.delete(gone := chance.choice(sorted(kept)))
            del kept[gone]
            continue
        mark, n_quotes = f"<{i}>", chance.randint(0, 5)
        quotes = [mark * chance.randint(1, 300) for _ in range(n_quotes)]
        cited = tuple(Citation(1, f"s{i}", None, None, None, 0, 1, quote) for quote in quotes)
        answer = replace(answer_of(index), text=mark * chance.randint(1, 400), citations=cited)
        kept[answers.save(answer, index)] = mark
    held = {mark.decode() for mark in re.findall(rb"<\d+>", (index.path / "answers.sqlite").read_bytes())}
    assert held == set(kept.values())
    assert [file.name for file in index.path.glob("answers.sqlite*")] == ["answers.sqlite"]


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:6000])


def garbled(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


def no_database(file: Path) -> None:
    file.write_text("what I was told\n" * 100)


@pytest.mark.parametrize("spoil", [torn, garbled, no_database])
def test_a_file_that_cannot_be_read_says_what_to_do(index: Index, spoil: Callable[[Path], None]) -> None:
    put(index, bees=BEES)
    answer = answer_of(index, ("bees", BEES))
    for _ in range(20):
        SavedAnswers(index.path).save(answer, index)
    file = index.path / "answers.sqlite"
    spoil(file)
    with pytest.raises(IndexDamagedError, match=r"holds no saved answers that can be read \(.+\): move it away"):
        SavedAnswers(index.path).list()
    file.rename(file.with_suffix(".old"))
    assert SavedAnswers(index.path).save(answer, index) == 1


def change(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "drop table citations",
        "update answers set sentences = 'none'",
        "update answers set notes = '7'",
        "update answers set question = cast(x'ff' as text)",
    ],
)
def test_what_is_not_in_our_form_is_damage_and_no_trace(index: Index, answers: SavedAnswers, statement: str) -> None:
    answers.save(answer_of(index), index)
    change(index.path / "answers.sqlite", statement)
    with pytest.raises(IndexDamagedError, match="holds no saved answers that can be read"):
        answers.list()


def test_the_file_of_another_program_is_left_alone(index: Index) -> None:
    file = index.path / "answers.sqlite"
    change(file, "create table answers (id integer primary key)")
    before = file.read_bytes()
    with pytest.raises(IndexMismatchError, match="belongs to another program: move it away"):
        SavedAnswers(index.path)
    assert file.read_bytes() == before


def test_a_newer_format_is_refused_with_the_way_out(index: Index, answers: SavedAnswers) -> None:
    answers.save(answer_of(index), index)
    change(index.path / "answers.sqlite", "pragma user_version = 2")
    with pytest.raises(IndexMismatchError, match="has format 2 of saved answers, this version reads up to 1: upgrade"):
        SavedAnswers(index.path)


def test_a_file_without_anything_in_it_is_one_in_which_nothing_was_saved(index: Index) -> None:
    (index.path / "answers.sqlite").touch()  # a save was killed before its first commit
    answers = SavedAnswers(index.path)
    assert answers.list() == ()
    assert answers.save(answer_of(index), index) == 1


def test_a_folder_in_its_place_is_named(index: Index) -> None:
    (index.path / "answers.sqlite").mkdir()
    with pytest.raises(UsageError, match=r"cannot be used \(unable to open database file\)"):
        SavedAnswers(index.path)


def test_the_doctor_compacts_beside_it_and_deleting_the_index_deletes_it(
    index: Index, answers: SavedAnswers, encoder: HashingEncoder
) -> None:
    put(index, bees=BEES)
    answers.save(answer_of(index, ("bees", BEES)), index)
    assert index.examine().holds
    assert index.compact().is_clean
    assert replay(answers.load(1), index).holds
    index.close()
    (index.path / "index.sqlite").unlink()
    with Index.create(index.path, encoder=encoder) as anew:
        assert [source.state for source in replay(answers.load(1), anew).sources] == ["removed"]
    Index.delete(index.path)
    assert not index.path.exists()


# --- the command line

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_reading: None, docs: Path) -> Run:
    """Runs `rag` beside an index of four small files, with a fake encoder in place of the model."""

    def load(name: str = "hashing", **_: object) -> Encoder:
        return HashingEncoder(name=name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(index_module, "load_encoder", load)
    monkeypatch.setattr(index_module, "DEFAULT_ENCODER", "hashing")
    (docs / "cats.txt").write_text(CATS)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, list(words), catch_exceptions=False)

    invoke("ingest", "docs")
    return invoke


CATS = "Cats sleep for sixteen hours a day. They are awake at dusk."
SLEEP = "How many hours a day do cats sleep?"
VOLCANO = "Which volcano erupted in Iceland yesterday?"


def put_file(run: Run, name: str, text: str | None) -> None:
    """Change a file, or delete it, and ingest again."""
    file = Path("docs") / name
    file.unlink() if text is None else file.write_text(text)
    assert run("ingest", "docs").exit_code == 0


def test_a_saved_answer_is_shown_again(run: Run) -> None:
    asked = run("ask", SLEEP, "--save")
    assert asked.stderr.endswith("\nSaved as 1: rag replay 1 shows it again.\n")
    shown = run("replay", "1")
    assert shown.exit_code == 0
    question, said, *rest = shown.stdout.splitlines()
    assert question == SLEEP
    assert re.fullmatch(r"\(saved on \d{4}-\d\d-\d\d \d\d:\d\d, by extractive\)", said)
    assert "\n".join(rest) == f"{asked.stdout}\nIts one source is as it was."


def test_the_index_that_was_named_is_named_again(run: Run) -> None:
    assert "Saved as 1: rag replay 1 --index default shows it" in run("ask", SLEEP, "--save", "-i", "default").stderr
    run("ingest", "docs", "-i", "./my index")
    said = run("ask", SLEEP, "--save", "-i", "./my index").stderr
    assert "Saved as 1: rag replay 1 --index './my index' shows it again." in said


def test_what_is_not_saved_is_not_kept(run: Run) -> None:
    asked = run("ask", SLEEP, "--json")
    assert "saved" not in json.loads(asked.stdout)
    listed = run("replay")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert listed.stderr == "No answers are saved yet: rag ask QUESTION --save keeps one.\n"
    assert not Path("indexes/default/answers.sqlite").exists()


def test_replay_in_json_has_the_agreed_form(run: Run) -> None:
    asked = json.loads(run("ask", SLEEP, "--save", "--json").stdout)
    assert asked.pop("saved") == 1
    read = [source for source in dict.fromkeys(hit["source"] for hit in asked.pop("nearest")) if source != "cats.txt"]
    replayed = json.loads(run("replay", "1", "--json").stdout)
    assert isinstance(replayed.pop("saved_at"), str)
    assert replayed == {
        "id": 1,
        "answer": asked,
        "holds": True,
        "index_changed": False,
        "sources": [
            {
                "source": "cats.txt",
                "state": "unchanged",
                "quotes": [
                    {"marker": c["marker"], "state": "stands", "start": c["start"], "end": c["end"]}
                    for c in asked["citations"]
                ],
            },
            *({"source": source, "state": "unchanged", "quotes": []} for source in read),
        ],
    }


def test_it_says_what_became_of_each_source(run: Run) -> None:
    run("ask", SLEEP, "--save")
    put_file(run, "cats.txt", f"It is known:\n\n{CATS}")
    assert "cats.txt has changed: [1] now stands at characters 14 to 49" in run("replay", "1").stdout
    put_file(run, "cats.txt", f"{CATS} And so on.")
    assert "cats.txt has changed: [1] stands where it did" in run("replay", "1").stdout
    put_file(run, "cats.txt", "Cats never sleep.")
    shown = run("replay", "1").stdout
    assert "cats.txt has changed: [1] is gone" in shown
    assert "“Cats sleep for sixteen hours a day.”" in shown
    put_file(run, "cats.txt", None)
    put_file(run, "bees.txt", "Bees dance.")
    gone = run("replay", "1")
    assert gone.exit_code == 0
    assert re.search(r"cats\.txt is not in the index any more, and (\[\d\])+ with it\.", gone.stdout)
    assert "Read but not cited, and changed or gone since: bees.txt." in gone.stdout
    assert json.loads(run("replay", "1", "--json").stdout)["holds"] is False
    put_file(run, "bees.txt", BEES)
    put_file(run, "cats.txt", CATS)
    assert run("replay", "1").stdout.endswith("\nIts one source is as it was.\n")


def test_two_sources_that_stand_are_counted(run: Run) -> None:
    with Index.open("indexes/default") as index:
        SavedAnswers(index.path).save(answer_of(index, ("bees.txt", BEES), ("apples.txt", APPLES)), index)
        SavedAnswers(index.path).save(replace(answer_of(index), abstained=False), index)
    assert run("replay", "1").stdout.endswith("\nAll 2 sources are as they were.\n")
    assert run("replay", "2").stdout.endswith("\nIt cites no source.\n")


def test_silence_is_shown_again_until_the_documents_may_tell(run: Run) -> None:
    run("ask", VOLCANO, "--save")
    shown = run("replay", "1").stdout
    assert "\nNot in these documents.\n\nThese passages came nearest:\n  " in shown
    assert shown.endswith("\nNothing in the index has changed since.\n")
    put_file(run, "volcano.txt", "The volcano Hekla erupted in Iceland yesterday.")
    assert run("replay", "1").stdout.endswith("\nThe index has changed since: ask again, it may tell now.\n")


def test_without_an_id_all_are_listed(run: Run) -> None:
    for question in (SLEEP, VOLCANO, "Do cats sleep " + "very " * 20 + "long?"):
        run("ask", question, "--save")
    put_file(run, "volcano.txt", "Volcanoes erupt.")
    first, second, third = run("replay").stdout.splitlines()
    assert re.fullmatch(rf"   1  \d{{4}}-\d\d-\d\d \d\d:\d\d  as it was  {re.escape(SLEEP)}", first)
    assert second.endswith(f"  changed    {VOLCANO}")
    assert third.endswith("  Do cats sleep very very very very very very very very very …")
    rows = [json.loads(line) for line in run("replay", "--json").stdout.splitlines()]
    assert [list(row) for row in rows] == 3 * [["id", "saved_at", "question", "abstained", "holds", "index_changed"]]
    assert [(row["id"], row["abstained"], row["holds"], row["index_changed"]) for row in rows[:2]] == [
        (1, False, True, True), (2, True, False, True),
    ]  # fmt: skip


def test_a_deleted_answer_is_gone(run: Run) -> None:
    run("ask", SLEEP, "--save")
    run("ask", SLEEP, "--save")
    assert run("replay", "1", "--delete").stdout == "Deleted saved answer 1.\n"
    assert json.loads(run("replay", "2", "--delete", "--json").stdout) == {"deleted": 2}
    assert run("replay", "--delete").exit_code == 2
    assert "Saved as 3: " in run("ask", SLEEP, "--save").stderr


def test_an_unknown_id_is_one_line_that_says_how_to_list_them(run: Run) -> None:
    for words in (("replay", "7"), ("replay", "7", "--delete"), ("replay", "99999999999999999999")):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert (
            result.stderr == f"rag: no saved answer {words[1]} in index 'default': rag replay lists those there are\n"
        )
    assert run("replay", "seven").exit_code == 2


def test_a_file_that_cannot_be_written_to_is_told_before_the_question_is_asked(run: Run) -> None:
    Path("indexes/default/answers.sqlite").write_text("not a database, but a text that is long enough for one")
    result = run("ask", SLEEP, "--save")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "holds no saved answers that can be read" in result.stderr
    assert run("ask", SLEEP).exit_code == 0


def test_a_question_that_is_no_text_is_saved_as_text(run: Run) -> None:
    assert run("ask", f"{SLEEP} \udcff", "--save").exit_code == 0
    assert run("replay", "1").stdout.startswith(f"{SLEEP} \N{REPLACEMENT CHARACTER}\n")


def test_what_a_question_or_a_source_holds_cannot_drive_the_terminal(run: Run) -> None:
    put_file(run, "evil\x1b[31m.txt", "Owls hunt at night in the woods.")
    run("ask", "When do owls hunt in the woods\x1b[31m?", "--save")
    put_file(run, "evil\x1b[31m.txt", "Owls sleep.")
    for words in (("replay",), ("replay", "1"), ("replay", "1", "--json")):
        assert "\x1b" not in run(*words).stdout
