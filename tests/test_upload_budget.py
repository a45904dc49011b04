"""What is handed over to the page is in memory until it is kept: so of one tab, and of all, only so much is taken."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from ui.limits import ALL_TABS, UPLOAD_VARIABLE, session_mb
from ui.server import UploadBudget

MB = 1024 * 1024
Message = MutableMapping[str, Any]


class Taking:
    """Takes uploads as Streamlit does: it reads the body, then holds it."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        n, more = 0, True
        while more:
            message = await receive()
            n, more = n + len(message["body"]), message["more_body"]
        await self.go.wait()
        session = scope["path"].split("/")[3]
        self.held[session] = self.held.get(session, 0) + n
        await send({"type": "http.response.start", "status": 204, "headers": []})


async def put(
    budget: UploadBudget, n_mb: int, *, session: str = "ada", announced: bool = True, method: str = "PUT"
) -> int:
    """Upload so many megabytes; the status of the answer."""
    headers = [(b"content-length", str(n_mb * MB).encode())] if announced else []
    scope = {"type": "http", "method": method, "path": f"/_stcore/upload_file/{session}/file", "headers": headers}
    bodies, statuses = [b"x" * MB] * n_mb, []

    async def receive() -> Message:
        return {"type": "http.request", "body": bodies.pop(), "more_body": bool(bodies)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    try:
        await budget(scope, receive, send)
    except HTTPException as exc:  # which the app that stands around it answers
        return exc.status_code
    [status] = statuses
    return int(status)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.limits.SESSION_MB", 4)
    monkeypatch.setenv(UPLOAD_VARIABLE, "1")


@pytest.mark.parametrize("announced", [True, False])
def test_one_tab_hands_over_so_much_and_no_more_until_it_was_taken(announced: bool) -> None:
    async def run() -> None:
        taking = Taking()
        budget = UploadBudget(taking, held=lambda: taking.held)
        assert await put(budget, 3, announced=announced) == 204
        assert await put(budget, 2, announced=announced) == 413
        assert await put(budget, 1, announced=announced) == 204
        assert await put(budget, 3, session="bob", announced=announced) == 204
        taking.held.clear()
        assert await put(budget, 4, announced=announced) == 204

    asyncio.run(run())


def test_what_is_on_its_way_counts_as_well_and_no_longer_than_that() -> None:
    async def run() -> None:
        taking = Taking()
        budget = UploadBudget(taking, held=lambda: {})
        taking.go.clear()
        first = asyncio.create_task(put(budget, 3))
        await asyncio.sleep(0)
        assert await put(budget, 2) == 413
        taking.go.set()
        assert await first == 204
        assert await put(budget, 2) == 204

    asyncio.run(run())


def test_all_tabs_together_have_a_budget_of_their_own() -> None:
    async def run() -> None:
        taking = Taking()
        budget = UploadBudget(taking, held=lambda: taking.held)
        assert [await put(budget, 4, session=f"s{i}") for i in range(ALL_TABS)] == [204] * ALL_TABS
        assert await put(budget, 1, session="one more") == 413

    asyncio.run(run())


def test_only_uploads_are_counted() -> None:
    async def run() -> None:
        taking = Taking()
        assert await put(UploadBudget(taking, held=lambda: taking.held), 9, method="POST") == 204

    asyncio.run(run())


def test_two_of_the_largest_files_always_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPLOAD_VARIABLE, "2000")
    assert session_mb() == 4000
