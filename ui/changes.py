"""Files of an index that changed after they were read: looked at in a thread, beside what people do."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rag.index import Index

_EVERY_S = 30.0  # between two looks
_SHARE = 50  # or so many times as long as the last took, if that is more

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changed:
    """What a look came to."""

    edited: int = 0  # files
    gone: int = 0
    first: str = ""  # name of one of them
    of: tuple[int, bytes] = (0, b"")  # the change of the index that is behind
    which: int = 0  # tells these files from others

    def __bool__(self) -> bool:
        return self.edited + self.gone > 0


class Changes:
    """Looks at the files of one index now and then, as long as somebody asks."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was looked at yet.

        Args:
            clock: seconds.
        """
        self._clock = clock
        self._changed = threading.Condition()
        self._found: Changed | None = None
        self._due = -math.inf
        self._looking = False

    def of(self, index: Index) -> Changed:
        """What the last look found; nothing while there was none since the index changed. Returns at once."""
        now = index.last_change()
        with self._changed:
            found = self._found if self._found is not None and self._found.of == now else None
            if not self._looking and (found is None or self._clock() >= self._due):
                self._looking = True
                threading.Thread(target=self._look, args=(index, now), name="looking", daemon=True).start()
            return Changed(of=now) if found is None else found

    def wait(self, seconds: float) -> bool:
        """Until no look is under way, at most so long; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._looking, seconds)

    def _look(self, index: Index, of: tuple[int, bytes]) -> None:
        began, found = self._clock(), Changed(of=of)
        try:
            stale = index.stale_files()
            edited = sum(change.kind == "edited" for change in stale)
            first = stale[0].path if stale else ""
            found = Changed(edited, len(stale) - edited, first, of, hash(frozenset((c.kind, c.path) for c in stale)))
        except Exception as exc:  # nothing is told then; the page tells of a broken index by itself
            log.info("files could not be looked at: %s", exc)
        with self._changed:
            ended = self._clock()
            self._found, self._looking = found, False
            self._due = ended + max(_EVERY_S, _SHARE * (ended - began))
            self._changed.notify_all()
