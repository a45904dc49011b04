"""What it takes to load a model: the device, not a word on the terminal, and errors of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def first_line(exc: BaseException) -> str:
    """What an error says, in one line; what it is called where it says nothing."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


def best_device() -> str:
    """Of torch: the GPU where there is one."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def no_bars() -> Iterator[None]:
    """transformers draws a bar for the weights it loads, and only our command line writes on a terminal."""
    from transformers.utils import logging

    bars: Any = logging  # these functions have no types
    if not bars.is_progress_bar_enabled():
        yield
        return
    bars.disable_progress_bar()
    try:
        yield
    finally:
        bars.enable_progress_bar()


@contextmanager
def quiet() -> Iterator[None]:
    """No bars, and no reports on what was loaded either."""
    from transformers.utils import logging

    told: Any = logging  # these functions have no types
    level = told.get_verbosity()
    told.set_verbosity(told.CRITICAL)
    try:
        with no_bars():
            yield
    finally:
        told.set_verbosity(level)
