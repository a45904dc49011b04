"""The first visit without a browser: what is read first, where it goes, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from rag.index import Index
from tests.apps import AppTest
from tests.fakes import HashingEncoder
from ui import library, sample
from ui.jobs import Job, Jobs
from ui.reading import Failed, Finished, Standing, Task, Told

SECONDS = 60


def script() -> None:
    from ui import first
    from ui.shell import here

    first.draw(here(), "Nothing leaves this computer.")


class Puppet:
    """Reads nothing: it stands still until it is stopped, or fails at once where it is to."""

    def __init__(self) -> None:
        self.problem = ""

    def __call__(self, task: Task, tell: Callable[[Told], None], stop: Event) -> None:
        if self.problem:
            tell(Failed(self.problem))
            return
        tell(Standing(1, 9, current="a.md"))
        stop.wait()
        none: dict[str, Any] = dict.fromkeys(["read", "unchanged", "moved", "removed"], 0)
        tell(Finished({**none, "skipped": {}, "set_aside": [], "stopped": True}, edited=0))


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def jobs(puppet: Puppet, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    jobs = Jobs(puppet)
    for module in ("ui.library", "ui.first"):
        monkeypatch.setattr(f"{module}.jobs", lambda: jobs)
    return jobs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> Path:
    monkeypatch.setenv("FOOTNOTE_INDEXES", str(tmp_path / "indexes"))
    return tmp_path / "indexes"


def visited() -> AppTest:
    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception
    return app


def line(app: AppTest) -> Any:
    """How a reading goes, or went."""
    assert not app.exception
    shown = [json.loads(part.proto.json) for part in app.get("bidi_component")]
    [view] = [view for view in shown if view.get("kind") == "reading"]
    return view


def ended(jobs: Jobs, index: Path) -> Job:
    return jobs.wait(jobs.of(index)[-1].number, lambda job: job.is_over, seconds=SECONDS)


def test_ones_own_files_do_not_go_into_the_sample_that_was_stopped(folder: Path, jobs: Jobs) -> None:
    app = visited()
    app.button(key="first_sample").click().run()
    jobs.stop(jobs.of(folder / sample.NAME)[0].number)
    ended(jobs, folder / sample.NAME)
    app.run()
    assert line(app)["text"].startswith("Stopped at 1 of 9 files. ")
    app.file_uploader[0].set_value([("ants.md", b"Ants carry leaves.", "text/plain")]).run()
    assert [job.task.uploads for job in jobs.of(folder / "documents")] == [("ants.md",)]
    own = folder.parent / sample.NAME
    own.mkdir()
    app.text_input[0].set_value(str(own))
    next(button for button in app.button if button.label == "Read").click().run()
    assert jobs.of(folder / "documents")[-1].task.paths == (str(own),)
    assert len(jobs.of(folder / sample.NAME)) == 1


def test_why_the_sample_cannot_be_read_is_told_and_it_can_be_tried_again(
    folder: Path, jobs: Jobs, puppet: Puppet
) -> None:
    puppet.problem = "the model is not there."
    app = visited()
    app.button(key="first_sample").click().run()
    ended(jobs, folder / sample.NAME)
    app.run()
    assert line(app)["text"] == "the sample: the model is not there."
    assert line(app)["actions"] == [["go on", "Try again"], ["dismiss", "Leave it"]]
    jobs.dismiss(folder / sample.NAME)
    app.run()
    assert line(app)["state"] == "none"


class Anew(Exception):  # noqa: N818 - as Streamlit's own, no error
    """The whole page is drawn anew."""


def test_what_another_tab_begins_or_has_made_is_seen_without_a_reload(
    folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anew() -> None:
        raise Anew

    monkeypatch.setattr("ui.library.st.rerun", anew)
    home = folder / "documents"
    drawn = library._begun(folder)
    library._reading(home, False, False, drawn)
    jobs.start(Task(folder / "other", "~/other", ("/other",)))
    with pytest.raises(Anew):
        library._reading(home, False, False, drawn)
    drawn = library._begun(folder)
    library._reading(home, False, False, drawn)
    Index.create(folder / "third", encoder=HashingEncoder()).close()
    with pytest.raises(Anew):
        library._reading(home, False, False, drawn)
    jobs.stop(jobs.of(folder / "other")[0].number)
