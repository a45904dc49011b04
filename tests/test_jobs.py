"""Readings that survive the page: what they tell, how they queue, stop, go on, and are done in another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from rag.index import Index
from rag.locks import write_lock
from rag.uploads import kept_at
from tests.fakes import HashingEncoder
from ui import reading
from ui.jobs import NOTE, Job, Jobs
from ui.reading import Failed, Finished, Standing, Task, Told, Waiting, read, read_apart

SECONDS = 60  # at most; what is waited for comes at once


class Puppet:
    """Reads nothing: it tells what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.tells: dict[str, Callable[[Told], None]] = {}
        self.ends = {title: Event() for title in ("one", "two", "three")}

    def __call__(self, task: Task, tell: Callable[[Told], None], stop: Event) -> None:
        self.begun.append(task.title)
        self.tells[task.title] = tell
        tell(Standing(0, 10, current=f"{task.title}.md"))
        while not (stop.wait(0.005) or self.ends[task.title].is_set()):
            pass
        tell(Finished({"stopped": stop.is_set()}, edited=0))

    def close(self) -> None:
        for end in self.ends.values():
            end.set()


@pytest.fixture
def puppet() -> Iterator[Puppet]:
    puppet = Puppet()
    yield puppet
    puppet.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where indexes are made, with the fake encoder."""
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    return tmp_path / "indexes" / "handbook"


def begun(job: Job) -> bool:
    return job.state == "running" and bool(job.standing.current)


def over(job: Job) -> bool:
    return job.is_over


# A reading


def test_a_folder_is_read_into_an_index_that_is_made_for_it(home: Path, docs: Path) -> None:
    (docs / "empty.txt").touch()
    jobs = Jobs(read)
    job = jobs.wait(jobs.start(Task(home, "docs", (str(docs),))).number, over, seconds=SECONDS)
    assert (job.state, job.problem) == ("done", "")
    assert job.finished is not None
    report = job.finished.report
    assert (report["read"], report["set_aside"]) == (3, [{"path": "empty.txt", "reason": "is empty (0 bytes)"}])
    with Index.open(home, encoder=HashingEncoder()) as index:
        assert [row.source for row in index.documents()] == ["apples.txt", "bees.txt", "sub/cows.txt"]
    assert (job.standing.files_done, job.standing.files_total, job.standing.files_in) == (4, 4, 3)
    assert jobs.latest(home) == job
    assert jobs.unfinished(home) == []


def test_uploads_are_read_and_those_that_replaced_others_are_counted(home: Path) -> None:
    copy = kept_at(home, "week.txt")
    copy.parent.mkdir(parents=True)
    copy.write_text("Lunch is soup.")
    jobs = Jobs(read)
    jobs.wait(jobs.start(Task(home, "week.txt", uploads=("week.txt",))).number, over, seconds=SECONDS)
    copy.write_text("Lunch is stew today.")
    job = jobs.wait(jobs.start(Task(home, "week.txt", uploads=("week.txt",))).number, over, seconds=SECONDS)
    assert job.finished is not None
    assert (job.finished.report["read"], job.finished.edited) == (1, 1)


def test_what_the_library_refuses_is_told_in_its_words_and_can_be_tried_again(home: Path, docs: Path) -> None:
    home.mkdir(parents=True)
    (home / "other.txt").write_text("not ours")
    jobs = Jobs(read)
    job = jobs.wait(jobs.start(Task(home, "docs", (str(docs),))).number, over, seconds=SECONDS)
    assert (job.state, job.problem) == (
        "failed",
        f"{str(home)!r} holds other things ('other.txt'): name a new or empty folder for the index",
    )
    assert jobs.unfinished(home) == [job.task]
    (home / "other.txt").unlink()
    assert jobs.wait(jobs.start(job.task).number, over, seconds=SECONDS).state == "done"
    assert jobs.unfinished(home) == []


def test_a_failure_of_ours_is_told_without_a_trace_and_can_go_on(tmp_path: Path) -> None:
    def fails(task: Task, tell: Callable[[Told], None], stop: Event) -> None:
        raise ZeroDivisionError("secret")

    jobs = Jobs(fails)
    job = jobs.wait(jobs.start(Task(tmp_path, "docs")).number, over, seconds=SECONDS)
    assert job.state == "failed"
    assert "secret" not in job.problem
    assert [task.title for task in jobs.unfinished(tmp_path)] == ["docs"]


def test_another_writer_is_waited_for_and_named(home: Path, docs: Path) -> None:
    Index.create(home, encoder=HashingEncoder()).close()
    jobs = Jobs(read)
    with write_lock(home, doing="reembed"):
        number = jobs.start(Task(home, "docs", (str(docs),))).number
        job = jobs.wait(number, lambda job: bool(job.waits_for), seconds=SECONDS)
        assert job.waits_for.startswith(f"process {os.getpid()} (rag reembed, since ")
    job = jobs.wait(number, over, seconds=SECONDS)
    assert (job.state, job.waits_for) == ("done", "")


# Several


def test_of_one_index_one_is_read_at_a_time_and_of_two_both(tmp_path: Path, puppet: Puppet) -> None:
    jobs = Jobs(puppet)
    one = jobs.start(Task(tmp_path / "a", "one", ("/x",)))
    jobs.wait(one.number, begun, seconds=SECONDS)
    two = jobs.start(Task(tmp_path / "a", "two", ("/y",)))
    other = jobs.start(Task(tmp_path / "b", "three"))
    jobs.wait(other.number, begun, seconds=SECONDS)
    assert [job.state for job in jobs.of(tmp_path / "a")] == ["running", "waiting"]
    assert jobs.active(tmp_path / "a") == jobs.of(tmp_path / "a")[0]
    assert jobs.latest(tmp_path / "a") is None
    puppet.ends["one"].set()
    jobs.wait(two.number, begun, seconds=SECONDS)
    assert puppet.begun == ["one", "three", "two"]


def test_the_same_reading_asked_for_twice_is_one(tmp_path: Path, puppet: Puppet) -> None:
    jobs = Jobs(puppet)
    first = jobs.start(Task(tmp_path, "one", ("/x",)))
    assert jobs.start(Task(tmp_path, "one", ("/x",))).number == first.number
    assert jobs.start(Task(tmp_path, "two", ("/y",))).number != first.number


def test_a_reading_that_is_stopping_is_not_the_one_asked_for_again(tmp_path: Path, puppet: Puppet) -> None:
    jobs = Jobs(puppet)
    first = jobs.start(Task(tmp_path, "one", ("/x",)))
    jobs.wait(first.number, begun, seconds=SECONDS)
    jobs.stop(first.number)
    again = jobs.start(Task(tmp_path, "one", ("/x",)))
    assert again.number != first.number
    jobs.wait(again.number, begun, seconds=SECONDS)
    assert jobs.unfinished(tmp_path) == []  # it is under way


# Stopping and going on


def test_a_reading_is_stopped_and_goes_on_where_it_was(home: Path, docs: Path) -> None:
    for i in range(400):
        (docs / f"{i:03}.txt").write_text(f"Number {i} is a number. " * 12)
    jobs = Jobs(stopped_after(jobs_to_stop := [], 150))
    first = jobs.start(Task(home, "docs", (str(docs),)))
    jobs_to_stop.append((jobs, first.number))
    job = jobs.wait(first.number, over, seconds=SECONDS)
    assert job.state == "stopped"
    assert job.finished is not None
    assert 0 < job.finished.report["read"] < 403
    [task] = jobs.unfinished(home)
    assert task == first.task
    later = Jobs(read)  # another server
    assert later.latest(home) is None
    assert later.unfinished(home) == [task]
    done = later.wait(later.start(task).number, over, seconds=SECONDS)
    assert done.finished is not None
    assert done.finished.report["unchanged"] == job.finished.report["read"]
    assert done.finished.report["read"] + done.finished.report["unchanged"] == 403
    assert later.unfinished(home) == []


def stopped_after(which: list[tuple[Jobs, int]], n_files: int) -> reading.Read:
    """Reads as `read`, and presses Stop once so many files are done."""

    def reads(task: Task, tell: Callable[[Told], None], stop: Event) -> None:
        def told(what: Told) -> None:
            tell(what)
            if isinstance(what, Standing) and what.files_done >= n_files:
                [(jobs, number)] = which
                jobs.stop(number)
                assert jobs.of(task.index)[0].state == "stopping"

        reading._TELL_S = 0.0
        read(task, told, stop)

    return reads


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_TELL_S", reading._TELL_S)


def test_one_that_waits_is_stopped_at_once_and_the_next_has_its_turn(tmp_path: Path, puppet: Puppet) -> None:
    jobs = Jobs(puppet)
    one, two, three = (jobs.start(Task(tmp_path, title, (title,))) for title in ("one", "two", "three"))
    jobs.wait(one.number, begun, seconds=SECONDS)
    jobs.stop(two.number)
    assert [job.state for job in jobs.of(tmp_path)] == ["running", "stopped", "waiting"]
    puppet.ends["one"].set()
    jobs.wait(three.number, begun, seconds=SECONDS)
    assert puppet.begun == ["one", "three"]
    jobs.stop(one.number)  # over: nothing happens
    assert jobs.of(tmp_path)[0].state == "done"


def test_what_an_ended_server_left_is_told_until_it_is_dismissed_and_never_while_somebody_reads_it(
    tmp_path: Path, puppet: Puppet
) -> None:
    Jobs(puppet).start(Task(tmp_path, "one", ("/x",), ("week.txt",)))
    later = Jobs(puppet)
    with write_lock(tmp_path, doing="ingest"):
        assert later.unfinished(tmp_path) == []
    assert later.unfinished(tmp_path) == [Task(tmp_path, "one", ("/x",), ("week.txt",))]
    later.dismiss(tmp_path)
    assert later.unfinished(tmp_path) == []
    assert not (tmp_path / NOTE).exists()


@pytest.mark.parametrize("note", ["", "{", "[1]", '[{"title": "x"}]', '{"a": 1}', "null"])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, note: str) -> None:
    (tmp_path / NOTE).write_text(note)
    assert Jobs().unfinished(tmp_path) == []


def test_a_note_goes_with_its_index_when_that_is_renamed_or_deleted(home: Path, puppet: Puppet) -> None:
    Index.create(home, encoder=HashingEncoder()).close()
    Jobs(puppet).start(Task(home, "one", ("/x",)))
    renamed = Index.rename(home, "other")
    assert [task.index for task in Jobs().unfinished(renamed)] == [renamed]
    Index.delete(renamed)
    assert not renamed.exists()


def test_dismissing_leaves_what_is_under_way(tmp_path: Path, puppet: Puppet) -> None:
    jobs = Jobs(puppet)
    one = jobs.start(Task(tmp_path, "one"))
    puppet.ends["one"].set()
    jobs.wait(one.number, over, seconds=SECONDS)
    two = jobs.start(Task(tmp_path, "two"))
    jobs.dismiss(tmp_path)
    assert [job.number for job in jobs.of(tmp_path)] == [two.number]
    assert [t.title for t in Jobs().unfinished(tmp_path)] == ["two"]


def test_one_dismissed_as_soon_as_it_told_its_end_leaves_later_ones_their_turn(tmp_path: Path) -> None:
    told, go_on = Event(), Event()

    def lingers(task: Task, tell: Callable[[Told], None], stop: Event) -> None:
        """Tells its end, and takes a moment to come to it, as a process does."""
        tell(Finished({"stopped": False}, edited=0))
        told.set()
        assert go_on.wait(SECONDS)
        tell(Standing())

    jobs = Jobs(lingers)
    jobs.start(Task(tmp_path, "one", ("/x",)))
    assert told.wait(SECONDS)
    jobs.dismiss(tmp_path)
    later = jobs.start(Task(tmp_path, "two", ("/y",)))
    go_on.set()
    assert jobs.wait(later.number, over, seconds=SECONDS).state == "done"


def test_of_those_that_are_over_the_last_few_are_kept(tmp_path: Path, puppet: Puppet) -> None:
    puppet.close()
    jobs = Jobs(puppet)
    for _ in range(9):
        jobs.wait(jobs.start(Task(tmp_path, "one")).number, over, seconds=SECONDS)
    assert [job.number for job in jobs.of(tmp_path)] == [4, 5, 6, 7, 8, 9]


# Time left


def test_time_left_is_told_from_the_speed_of_the_last_half_minute(tmp_path: Path, puppet: Puppet) -> None:
    now = 0.0
    jobs = Jobs(puppet, clock=lambda: now)
    number = jobs.start(Task(tmp_path, "one")).number
    jobs.wait(number, begun, seconds=SECONDS)

    def left(at: float, done: int) -> float | None:
        nonlocal now
        now = at
        puppet.tells["one"](Standing(1, 10, bytes_done=done, bytes_total=10_000))
        return jobs.of(tmp_path)[0].seconds_left

    assert left(1, 500) is None  # too early to tell
    assert left(5, 1_000) == 45  # 200 bytes a second
    assert left(10, 2_000) == 40
    assert left(40, 2_600) == (10_000 - 2_600) / (600 / 30)  # it has become slow
    assert left(41, 2_620) == (10_000 - 2_620) / (620 / 31)
    assert left(45, 10_000) == 0


def test_no_time_is_told_where_nothing_moves(tmp_path: Path, puppet: Puppet) -> None:
    now = 0.0
    jobs = Jobs(puppet, clock=lambda: now)
    number = jobs.start(Task(tmp_path, "one")).number
    jobs.wait(number, begun, seconds=SECONDS)
    now = 100.0
    puppet.tells["one"](Standing(1, 10, bytes_done=0, bytes_total=0))
    assert jobs.of(tmp_path)[0].seconds_left is None


# In a process of its own


def apart(task: Task, *, stop: Event | None = None) -> list[Told]:
    told: list[Told] = []
    read_apart(task, told.append, stop or Event())
    return told


@pytest.mark.slow
def test_another_process_reads_and_tells_the_same(tmp_path: Path, docs: Path) -> None:
    task = Task(tmp_path / "apart", "docs", (str(docs),))
    *standings, finished = apart(task)
    assert isinstance(finished, Finished)
    assert finished.report["read"] == 3
    assert Standing(3, 3, 3, 3, "", *[sum(f.stat().st_size for f in docs.rglob("*.txt"))] * 2) in standings
    with Index.open(task.index) as index:
        assert index.status().files == 3


@pytest.mark.slow
def test_another_process_stops_when_it_is_asked_to(tmp_path: Path, docs: Path) -> None:
    task, stop = Task(tmp_path / "apart", "docs", (str(docs),)), Event()
    Index.create(task.index).close()
    told: list[Told] = []
    with write_lock(task.index, doing="ingest"):  # so that it has not read all before it is stopped

        def hear(what: Told) -> None:
            told.append(what)
            if isinstance(what, Waiting):
                stop.set()

        read_apart(task, hear, stop)
    assert isinstance(told[-1], Finished)
    assert told[-1].report["stopped"]


@pytest.mark.slow
def test_another_process_stops_when_the_one_that_began_it_is_killed(tmp_path: Path, docs: Path) -> None:
    index = tmp_path / "apart"
    Index.create(index).close()
    script = (
        "import sys; from pathlib import Path; from threading import Event; from ui.reading import *\n"
        "tell = lambda told: print(type(told).__name__, flush=True)\n"
        f"read_apart(Task(Path({str(index)!r}), 'docs', ({str(docs)!r},)), tell, Event())"
    )
    with (
        write_lock(index, doing="ingest"),
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout
        while server.stdout.readline().strip() != "Waiting":
            pass
        server.kill()
        server.stdout.read()  # its end is that of the reader too, which has the same
    with Index.open(index, wait_s=SECONDS) as opened:
        assert opened.status().files == 0


@pytest.mark.slow
def test_ctrl_c_in_the_terminal_breaks_off_no_reading_and_prints_nothing(tmp_path: Path, docs: Path) -> None:
    index = tmp_path / "apart"
    Index.create(index).close()
    script = (
        "import signal, sys; from pathlib import Path; from threading import Event; from ui.reading import *\n"
        "signal.signal(signal.SIGINT, lambda *_: print('Interrupted', flush=True))\n"
        "tell = lambda told: print(type(told).__name__, flush=True)\n"
        f"read_apart(Task(Path({str(index)!r}), 'docs', ({str(docs)!r},)), tell, Event())"
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as server,
    ):
        assert server.stdout
        with write_lock(index, doing="ingest"):
            while server.stdout.readline().strip() != "Waiting":
                pass
            os.killpg(server.pid, signal.SIGINT)
            assert server.stdout.readline().strip() == "Interrupted"
        told, faults = server.communicate(timeout=SECONDS)
    assert (told.split()[-1], faults) == ("Finished", "")
    with Index.open(index) as opened:
        assert opened.status().files == 3


def test_a_process_that_is_killed_is_told_with_the_file_at_hand_and_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = (
        "import json, os, sys; sys.stdin.readline()\n"
        "print(json.dumps(['Standing', {'files_done': 1, 'current': 'big.pdf'}]), flush=True)\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    started = subprocess.Popen

    def instead(command: list[str], **options: object) -> subprocess.Popen[str]:
        return started([command[0], "-c", dies], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr("ui.reading.subprocess.Popen", instead)
    *_, failed = apart(Task(tmp_path, "docs"))
    assert failed == Failed("Reading broke off at big.pdf (exit code -9). What was read is kept.")
