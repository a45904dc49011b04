"""The pages as a person sees them: what the browser tests click, type and read, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Locator, Page, expect

PATIENCE_S = 30  # for what must come; the tests wait for the thing itself, never for a time


@dataclass
class Shown:
    """One tab. Playwright's locators look into the parts of the page as well (open shadow roots)."""

    page: Page
    address: str  # of the server, as http://127.0.0.1:PORT
    folder: Path = Path()  # of its indexes
    faults: list[str] = field(default_factory=list)  # scripts that failed
    foreign: list[str] = field(default_factory=list)  # requests to other hosts than this machine

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._seen)

    def _seen(self, request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme in {"http", "https", "ws", "wss"} and url.hostname not in {"127.0.0.1", "localhost"}:
            self.foreign.append(request.url)

    # Moving about

    def open(self, path: str = "/", **values: str) -> None:
        """Open an address of the page, and wait until its script has run once.

        Args:
            path: such as "/search".
            values: of the address, such as `q="…"`.
        """
        query = "&".join(f"{name}={quote(value)}" for name, value in values.items())
        self.page.goto(self.address + path + (f"?{query}" if query else ""))
        self.settled()

    def settled(self) -> None:
        """Wait until Streamlit's script is not running, and no run is asked for."""
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()

    def go(self, name: str) -> None:
        """To another page, by its name in the navigation."""
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.wait_for_url(re.compile(rf"/({name.lower()})?(\?|$)" if name == "Ask" else f"/{name.lower()}"))
        self.settled()

    # Asking

    @property
    def box(self) -> Locator:
        return self.page.locator('[data-testid="stChatInputTextArea"]')

    def ask(self, question: str) -> None:
        """Ask, and wait until the answer is whole."""
        self.box.fill(question)
        self.box.press("Enter")
        expect(self.page.get_by_role("heading", name=question, exact=True)).to_be_visible()
        self.answered()

    def answered(self) -> None:
        """Wait until no answer is being written."""
        expect(self.page.locator('[aria-busy="true"]')).to_have_count(0, timeout=PATIENCE_S * 1000)
        self.settled()

    def footnote(self, number: int) -> Locator:
        """The first footnote of that number."""
        return self.page.get_by_role("button", name=re.compile(rf"^Footnote {number}:")).first

    @property
    def statuses(self) -> Locator:
        """What is said to be happening."""
        return self.page.get_by_role("status")

    def drawer(self, name: str) -> Locator:
        """Open a drawer of the first row: "Threads" or "Settings"."""
        self.page.get_by_role("button", name=name, exact=True).click()
        drawer = self.page.get_by_role("dialog")
        drawer.get_by_text(name, exact=True).wait_for()
        return drawer

    # The source pane

    @property
    def pane(self) -> Locator:
        return self.page.get_by_role("complementary", name="Source")

    @property
    def pane_text(self) -> str:
        self.pane.wait_for()
        return self.pane.inner_text()

    @property
    def marked(self) -> str:
        """The marked characters of the pane, those included that the page hides, such as the marks of a heading."""
        self.pane.locator("mark").first.wait_for(state="attached")
        return "".join(self.pane.locator("mark").all_text_contents())

    # What holds for every page

    def focused(self) -> str:
        """The accessible name, text or test id of what has the focus, inside the parts of the page too."""
        found: str = self.page.evaluate(
            """() => {
              let at = document.activeElement;
              while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
              return at?.getAttribute("aria-label") || at?.textContent || at?.dataset?.testid || "";
            }"""
        )
        return found.strip()

    def scrolls_sideways(self) -> bool:
        wide: bool = self.page.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll("[data-testid=stMain]")]
                      .some((node) => node.scrollWidth > node.clientWidth)"""
        )
        return wide

    def findings(self) -> list[str]:
        """What axe-core finds serious or critical, one line each; empty is good."""
        self.page.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
        result = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{found['id']}: {found['help']}: {node['target']} {node.get('failureSummary', '')}"
            for found in result["violations"]
            if found["impact"] in {"serious", "critical"}
            for node in found["nodes"]
        ]
