"""One writer at a time: who is second is told who writes, and since when, and can wait."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

import pytest
from filelock import FileLock

from rag.errors import IndexBusyError
from rag.index import Index
from rag.locks import HOLDER, write_lock
from tests.fakes import HashingEncoder

HOLD = """
import sys
from pathlib import Path
from rag.locks import write_lock
with write_lock(Path(sys.argv[1]), doing="ingest"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process


def let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def tell(folder: Path, **values: object) -> None:
    (folder / HOLDER).write_text(json.dumps(values))


def test_a_second_writer_is_told_who_writes_what_and_since_when(tmp_path: Path) -> None:
    began = datetime.now().astimezone().replace(microsecond=0)
    with held(tmp_path) as process:
        with pytest.raises(IndexBusyError) as told, write_lock(tmp_path, doing="add"):
            pass
        let_go(process)
    match = re.fullmatch(
        rf"process {process.pid} \(rag ingest, since (\d\d:\d\d:\d\d|.* \d\d:\d\d)\) is writing to the index in"
        rf" {str(tmp_path)!r}: try again when it is done, or wait for it with --wait",
        str(told.value),
    )
    assert match
    if " " not in match[1]:  # not just past midnight
        assert began.time() <= datetime.strptime(match[1], "%H:%M:%S").time() <= datetime.now().time()


def test_who_waits_is_told_once_for_whom_and_then_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    with held(tmp_path) as process:

        def on_wait(whom: str) -> None:
            told.append(whom)
            let_go(process)

        with write_lock(tmp_path, doing="add", wait_s=math.inf, on_wait=on_wait):
            assert json.loads((tmp_path / HOLDER).read_text())["process"] == os.getpid()
    assert [re.sub("since .*", "", whom) for whom in told] == [f"process {process.pid} (rag ingest, "]
    assert not (tmp_path / HOLDER).exists()


def test_an_index_waits_for_whoever_writes_to_it(index: Index, docs: Path) -> None:
    told: list[str] = []
    with held(index.path) as process:

        def on_wait(whom: str) -> None:
            told.append(whom)
            let_go(process)

        with Index.open(index.path, encoder=HashingEncoder(), wait_s=math.inf, on_wait=on_wait) as patient:
            assert patient.ingest(docs).read == 3
            assert patient.ingest(docs).unchanged == 3
    assert len(told) == 1


def test_who_has_waited_long_enough_is_told_too(tmp_path: Path) -> None:
    told: list[str] = []
    with held(tmp_path) as process:
        with (
            pytest.raises(IndexBusyError, match=f"process {process.pid} .* is writing to the index"),
            write_lock(tmp_path, doing="add", wait_s=0.01, on_wait=told.append),
        ):
            pass
        let_go(process)
    assert len(told) == 1


def test_a_thread_waits_for_another_of_its_process(tmp_path: Path) -> None:
    order, waiting = [], Event()

    def second() -> None:
        with write_lock(tmp_path, doing="add", wait_s=math.inf, on_wait=lambda _: waiting.set()):
            order.append("second")

    thread = Thread(target=second)
    with write_lock(tmp_path, doing="ingest"):
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_nobody_waits_for_a_process_that_was_killed(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        process.kill()
    assert json.loads((tmp_path / HOLDER).read_text())["process"] == process.pid  # it could not clear up
    told: list[str] = []
    with write_lock(tmp_path, doing="remove", wait_s=math.inf, on_wait=told.append):
        with pytest.raises(IndexBusyError, match=rf"process {os.getpid()} \(rag remove"):
            _take(tmp_path)
        assert told == []
    assert not (tmp_path / HOLDER).exists()
    with write_lock(tmp_path, doing="add"):
        pass


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), write_lock(tmp_path, doing="add"):
        raise ZeroDivisionError
    with write_lock(tmp_path, doing="add"):
        pass


def test_a_writer_of_another_machine_and_day_is_named_so(tmp_path: Path) -> None:
    noon = datetime(2020, 5, 4, 12, 30).astimezone()
    with _held_in_a_thread(tmp_path):
        tell(tmp_path, doing="reembed", process=7, host="elsewhere", since=noon.isoformat())
        with pytest.raises(IndexBusyError, match=r"process 7 on elsewhere \(rag reembed, since 2020-05-04 12:30\) is"):
            _take(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"process": 1}', '{"since": 3}', "\x00\xff"])
def test_a_writer_that_could_not_say_who_it_is_is_another_process(tmp_path: Path, content: str) -> None:
    """As on a full disk, where the note is torn."""
    with _held_in_a_thread(tmp_path):
        (tmp_path / HOLDER).write_bytes(content.encode("latin-1"))
        with pytest.raises(IndexBusyError, match=r"^another process is writing to the index"):
            _take(tmp_path)


def test_a_note_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / HOLDER).mkdir()
    with (
        write_lock(tmp_path, doing="add"),
        pytest.raises(IndexBusyError, match=r"^another process is writing to the index"),
    ):
        _take(tmp_path)


def _take(folder: Path) -> None:
    with write_lock(folder, doing="add"):
        pass


@contextmanager
def _held_in_a_thread(folder: Path) -> Iterator[None]:
    """The bare lock, without a note of who holds it."""
    taken, leave = Event(), Event()

    def hold() -> None:
        with FileLock(folder / "write.lock"):
            taken.set()
            leave.wait(60)

    thread = Thread(target=hold)
    thread.start()
    assert taken.wait(60)
    try:
        yield
    finally:
        leave.set()
        thread.join()
