"""The parts of the page that are drawn by our own script: base.js and base.css, then the part's own.

Document text goes to them as JSON and into the page as text nodes; none of them reads a text as markup.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import streamlit as st

WEB = Path(__file__).with_name("web")


def component(name: str, *with_scripts: str) -> Any:
    """The part `name`: a callable that draws it, as `st.components.v2.component` gives one.

    Args:
        name: of its script and style sheet.
        with_scripts: more scripts that it is drawn with, put before its own.
    """
    scripts = _joined("js", "base", *with_scripts, name)
    return st.components.v2.component(f"footnote.{name}", js=scripts, css=_joined("css", "base", name))


def open_component(name: str, key: str) -> Any:
    """The part `name` for the inside of a dialog, drawn under a key, the only one that it is drawn under.

    A dialog keeps the Tab key within what it sees to be in it, and does not look into a part that is closed to the
    styles of the page, as all others are. This one is open; its own styles stay with it because they are nested.
    """
    sheet = f".st-key-{key} {{\n{_joined('css', 'base', name)}\n}}"
    scripts = _joined("js", "base", name)
    return partial(st.components.v2.component(f"footnote.{name}", js=scripts, css=sheet, isolate_styles=False), key=key)


@cache
def _joined(kind: str, *parts: str) -> str:
    return "\n".join((WEB / f"{part}.{kind}").read_text(encoding="utf-8") for part in parts)
