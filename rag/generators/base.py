"""`Generator` protocol: what turns a question and passages into a draft, before anyone decides whether to show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rag.types import Draft, Hit


class Generator(Protocol):
    """Turns a question and passages into a draft."""

    name: str

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        """A draft of a few sentences; none where no passage holds a sentence."""
