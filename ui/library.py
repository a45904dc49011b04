"""The Library page: what is in an index, adding to it and taking from it, and readings while they go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from rag.errors import RagError, UsageError
from rag.index import Index, checked_name
from rag.locks import who_writes
from rag.store import FileState
from ui import sample
from ui.access import is_public, owner, told
from ui.changes import Changed
from ui.components import component
from ui.jobs import jobs
from ui.keeping import FILE_NAME
from ui.limits import UPLOADS_AT_ONCE, session_mb, upload_mb
from ui.reading import Task
from ui.render import Json, find_indexes
from ui.shelf import (
    Look,
    Standing,
    at_home,
    facts_view,
    file_id,
    files_view,
    head_view,
    matching,
    plural,
    reading_view,
    removal_words,
)
from ui.shell import Opened, Place, bring, go, here, let_go, open_index, running, write_address
from ui.threads import Threads
from ui.uploads import clean_name, drop_unread, refusal, take, too_much

FIRST_NAME = "documents"  # of the first index, where its folder's name will not do
GONE = "This index was renamed or deleted meanwhile."
LOCKED = "Files are being read. Stop that, or remove them when it is done."
_LEFT_KEPT = 16  # changes that one did not want to hear of
_LIVELY_S, _CALM_S = 1.0, 5.0  # between two looks at a reading, and at whether another tab or program began one

# The keys of what this page keeps in the session: `library.look`, `.said`, `.dialog`, `.problem`, `.chosen`, `.drop`,
# and `.of`, the index that was shown last.


def page(place: Place) -> None:
    if place.missing:  # another is shown, by its name
        was_shown = st.session_state.get("library.of") == str(place.folder / place.missing)
        _say(GONE if was_shown else f"There is no index {place.missing!r} here.")
        st.session_state["missing"] = None
    write_address(index=place.name)
    home = home_of(place)
    if (before := st.session_state.get("library.of")) != str(place.path):  # another index: its files are others
        st.session_state.update({"library.of": str(place.path), "library.look": Look()})
        _choose_none()
        _close_of(before)
    try:
        opened = place.opened()
    except RagError as exc:
        if jobs().active(home) is None:
            _head({"kind": "head", "title": f"{place.name} cannot be read.", "text": told(str(exc))})
            _buttons(None)
            _dialog(place)
            return
        opened = None  # it is just being made
    every = _CALM_S if jobs().active(home) is not None else None
    if opened is None:
        _head({"kind": "head", "title": "Library", "text": "Nothing is in here yet. Add files, or a folder."})
    else:
        st.fragment(_summary, run_every=every)(opened)
        _buttons(opened)
    add(home)
    reading(told_of(place), is_made=opened is not None)
    if opened is not None:
        st.fragment(_files, run_every=every)(opened)
    _dialog(place)


def home_of(place: Place) -> Path:
    """The folder of the index that is added to; where there is none yet, the one that is being made or left unmade.

    One's own files never go where the sample was begun.
    """
    if place.path is not None:
        return place.path.absolute()
    own = (index for index in jobs().begun(place.folder) if index.name != sample.NAME)
    return next(own, place.folder.absolute() / FIRST_NAME)


def told_of(place: Place) -> Path:
    """The folder of the index whose readings are told of; where there is none, the one begun last, the sample too."""
    begun = jobs().begun(place.folder) if place.path is None else []
    return begun[0] if begun else home_of(place)


# What is in the index

_FILES: dict[str, tuple[tuple[int, bytes], list[FileState]]] = {}


def files_of(index: Index) -> list[FileState]:
    """All files of an index; read again when something was committed, as 10,000 of them take a tenth of a second."""
    path, now = str(index.path.absolute()), index.last_change()
    known = _FILES.get(path)
    if known is None or known[0] != now:
        known = _FILES[path] = now, sorted(index.files(), key=lambda file: (file.name.casefold(), file.root))
        for other in list(_FILES)[:-8]:
            _FILES.pop(other, None)
    return known[1]


def _summary(opened: Opened) -> None:
    _head(head_view(opened.index.status(), files_of(opened.index)))


def _head(view: Json) -> None:
    component("library")(key="library-head", data=view)


def _files(opened: Opened) -> None:
    """The table; a fragment, so that looking through it draws nothing else anew."""
    if st.session_state.pop("library.redraw", False):
        st.rerun()
    look = _look()
    locked = LOCKED if jobs().active(opened.index.path) is not None else ""
    view = {
        **files_view(files_of(opened.index), look, locked=locked, paths=_may_name_paths()),
        "choice": st.session_state.get("library.choice", 0),
    }
    component("library")(key="library-files", data=view, on_do_change=_do_files)


def _choose_none() -> None:
    """Let the browser forget which files were chosen."""
    st.session_state["library.choice"] = st.session_state.get("library.choice", 0) + 1


def _look() -> Look:
    look: Look = st.session_state.setdefault("library.look", Look())
    return look


def _do_files() -> None:
    event = st.session_state["library-files"]["do"]
    if isinstance(event, Mapping):
        look_or_remove(event)


def look_or_remove(event: Mapping[str, Any]) -> None:
    """Carry out what the browser sent from the table; what is none of ours counts for nothing."""
    state, look = st.session_state, _look()
    match event:
        case {"what": "look", "value": {"find": str(find), "standing": "all" | "ready" | "aside" as standing}}:
            state["library.look"] = Look(find[:200], cast(Standing, standing))
        case {"what": "page", "value": int(number)}:
            state["library.look"] = replace(look, page=number)
        case {"what": "remove", "value": "all"}:
            _open("remove", chosen=None)
        case {"what": "remove", "value": list(ids)}:
            _open("remove", chosen=frozenset(map(str, ids)))


# Adding


def add(home: Path) -> None:
    """Where files are dropped and a folder is named; what is added goes to the index in that folder."""
    if _may_name_paths():
        files, folder = st.columns(2, gap="medium", vertical_alignment="top")
        with files:
            _drop(home)
        with folder:
            _name(home)
    else:
        _drop(home)
    _said()


def _may_name_paths() -> bool:
    """Whether who looks at the page is at this computer: others read no folder of it, and learn of none."""
    return not is_public()


def _drop(home: Path) -> None:
    key = f"library.drop.{st.session_state.setdefault('library.drop', 0)}"
    with st.container(key="hand"):
        st.file_uploader(
            f"Add files: drop them here, up to {upload_mb()} MB each",
            accept_multiple_files=True,
            max_upload_size=upload_mb(),
            key=key,
            on_change=_take,
            args=(home, key, is_there(home)),
        )


def _name(home: Path) -> None:
    with st.form("library.folder", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Or a folder on this computer", key="library-path", placeholder="~/Documents", autocomplete="off")
        st.form_submit_button("Read", on_click=_read_folder, args=(home, is_there(home)))


def _said() -> None:
    """What is said of what was added last; this part also looks at what is dropped."""
    limits = {"limit": upload_mb() * 1024 * 1024, "budget": session_mb() * 1024 * 1024}
    data = {"kind": "said", "said": st.session_state.get("library.said", []), **limits}
    component("library")(key="library-said", data=data, on_do_change=_do_said)


def _do_said() -> None:
    event = st.session_state["library-said"]["do"]
    if isinstance(event, Mapping):
        hear(event)


def hear(event: Mapping[str, Any]) -> None:
    """Carry out what the browser sent: the words were closed, or files were dropped that it does not send."""
    match event:
        case {"what": "close"}:
            _say()
        case {"what": "much", "value": int(size)}:
            _say(too_much(size))
            _clear_drop()
        case {"what": "large", "value": {"files": list(files), "all": bool(is_all)}}:
            names = [(clean_name(str(file.get("name"))), int(file.get("size", 0))) for file in files[:UPLOADS_AT_ONCE]]
            lines = [words for name, size in names if (words := refusal(name, size))]
            _say(*lines)
            if is_all:
                _clear_drop()
            else:  # the others are on their way, and will have their words too
                st.session_state["library.large"] = lines


def _say(*lines: str) -> None:
    st.session_state["library.said"] = list(lines)


def _take(home: Path, key: str, was_there: bool) -> None:
    files = st.session_state.get(key) or []
    if not files:
        return
    _clear_drop()
    try:
        _keep(home, files, was_there)
    finally:
        _let_go(files)


def _keep(home: Path, files: Sequence[UploadedFile], was_there: bool) -> None:
    if _has_gone(home, was_there):
        return
    try:
        taken = take(home, files)
    except UsageError as exc:
        _say(told(str(exc)))
        return
    _say(*taken.replaced, *taken.refused, *st.session_state.pop("library.large", []))
    if taken.names:
        title = taken.names[0] if len(taken.names) == 1 else plural(len(taken.names), "file")
        _begin(Task(home, title, uploads=taken.names))


def _let_go(files: Sequence[UploadedFile]) -> None:
    """Forget what was handed over, taken or not: else Streamlit holds it in memory for as long as the tab is open."""
    ctx = get_script_run_ctx()
    if ctx is not None and isinstance(ctx.uploaded_file_mgr, MemoryUploadedFileManager):
        for file in files:
            ctx.uploaded_file_mgr.remove_file(ctx.session_id, file.file_id)


def _clear_drop() -> None:
    """A new place to drop files on, which shows none of those before."""
    st.session_state["library.drop"] = st.session_state.get("library.drop", 0) + 1


def _has_gone(home: Path, was_there: bool) -> bool:
    """Whether the index that was to be added to has gone since it was drawn; says so then.

    Added to all the same, it would be made again under its old name.
    """
    if was_there and not is_there(home):
        _say(GONE)
        return True
    return False


def _read_folder(home: Path, was_there: bool) -> None:
    if not _may_name_paths() or _has_gone(home, was_there):
        return
    try:
        path = named_folder(st.session_state["library-path"])
    except UsageError as exc:
        _say(told(str(exc)))
        return
    st.session_state["library-path"] = ""
    _say()
    if not home.exists():
        home = home.with_name(first_name(path))
    _begin(Task(home, at_home(str(path)), paths=(str(path),)))


def named_folder(typed: str) -> Path:
    """The folder, or file, that a person named by its whole path.

    Raises:
        UsageError: there is none, in words for people.
    """
    typed = typed.strip()
    if len(typed) > 1 and typed[0] == typed[-1] and typed[0] in "\"'":  # as shells and file managers copy a path
        typed = typed[1:-1]
    if not typed:
        raise UsageError("Name a folder, as in ~/Documents.")
    try:
        path = Path(typed).expanduser()
    except RuntimeError:
        path = Path(typed)
    if not path.is_absolute():
        raise UsageError(f"Name the whole path of the folder, as in ~/Documents or /home/ada/notes, not {typed!r}.")
    try:
        is_there = path.is_dir() or path.is_file()
    except (OSError, ValueError):  # no path at all
        is_there = False
    if not is_there:
        raise UsageError(f"There is no folder {typed!r} on this computer.")
    return path


def first_name(path: Path) -> str:
    """What the first index is called: as the folder that it is made of, where an index can be called so."""
    try:
        name = checked_name(path.name)
    except UsageError:
        return FIRST_NAME
    return FIRST_NAME if name == sample.NAME else name


def _begin(task: Task) -> None:
    st.session_state["library.redraw"] = True
    jobs().start(task)


# A reading


def reading(home: Path, *, is_made: bool | None = None, after_all: bool = True) -> None:
    """The line that tells how a reading goes, the same in every tab.

    Args:
        home: folder of the index, which need not be there yet.
        after_all: whether it also tells of one that came to its end.
        is_made: whether the page shows the index; if not, all is drawn anew as soon as it can be opened. By default
            whether it can be opened now.
    """
    st.session_state.pop("library.redraw", None)
    is_active = jobs().active(home) is not None
    st.fragment(_reading, run_every=_LIVELY_S if is_active else _CALM_S)(
        home, is_active, _made(home) if is_made is None else is_made, _begun(home.parent), after_all
    )


def _begun(folder: Path) -> tuple[bool, list[Path]]:
    """Whether there is an index in a folder, and which one is told of where there is none: any tab may change both."""
    return bool(find_indexes(folder)), jobs().begun(folder)[:1]


def _made(home: Path) -> bool:
    """Whether there is an index that can be opened: for a moment, one that is being made cannot."""
    try:
        Index.open(home).close()
    except RagError:
        return False
    return True


def is_there(home: Path) -> bool:
    """Whether the folder holds an index, though perhaps one that cannot be opened."""
    return (home / "index.sqlite").is_file()


def _reading(
    home: Path, was_active: bool, was_made: bool, had_begun: tuple[bool, list[Path]], after_all: bool = True
) -> None:
    active = jobs().active(home)
    redraw = st.session_state.pop("library.redraw", False)
    has_begun = not was_made and (_made(home) or _begun(home.parent) != had_begun)
    if redraw or (active is not None) != was_active or has_begun:
        st.rerun()  # the table, what may be removed, and how often this looks
    job = active or jobs().latest(home)
    if job and job.state == "done" and not after_all:
        job = None
    queued = [waits for waits in jobs().of(home) if not waits.is_over and waits is not job]
    unfinished = jobs().unfinished(home) if job is None else []
    other = (who_writes(home) or "") if job is None else ""
    changed = None if active or other else _changed(home)
    if changed in st.session_state.get("library.left", ()):
        changed = None  # it was heard of
    view = reading_view(
        job, queued=queued, unfinished=unfinished, other=other, changed=changed, paths=_may_name_paths()
    )
    component("library")(key="library-reading", data=view, on_do_change=_do_reading)
    st.session_state["library.reading"] = str(home)


def _changed(home: Path) -> Changed | None:
    """What changed since the files were read; None where there is no index that can be read."""
    if not is_there(home):
        return None
    try:
        opened = open_index(home)
        return opened.changes.of(opened.index)
    except RagError:  # the page says so
        return None


def _do_reading() -> None:
    event = st.session_state["library-reading"]["do"]
    if isinstance(event, Mapping):
        steer(Path(st.session_state["library.reading"]), event)


def steer(home: Path, event: Mapping[str, Any]) -> None:
    """Carry out what the browser sent from the line of a reading."""
    match event:
        case {"what": "stop", "value": int(number)}:
            jobs().stop(number)
        case {"what": "go on"}:
            last = jobs().latest(home)
            for task in jobs().unfinished(home) or ([last.task] if last else []):
                jobs().start(task)
        case {"what": "dismiss"}:
            left = {name for task in jobs().dismiss(home) for name in task.uploads}
            wanted = {name for job in jobs().of(home) for name in job.task.uploads}  # by a reading that goes on
            drop_unread(home, left - wanted)
        case {"what": "check"}:
            check(open_index(home))
        case {"what": "leave"}:
            left = st.session_state.get("library.left", ())
            st.session_state["library.left"] = (*left[-_LEFT_KEPT:], _changed(home))
        case {"what": "aside"}:
            st.session_state["library.look"] = Look(standing="aside")
            st.session_state["library.redraw"] = True
            if st.session_state.get("page") != "library":
                st.session_state["library.of"] = str(here().folder / home.name)
                go("library", index=home.name)


# The index as a whole


def _buttons(opened: Opened | None) -> None:
    """What can be done with the index as a whole; with one that cannot be read only some of it."""
    with st.container(key="library-buttons", horizontal=True):
        if opened is not None:
            origins = opened.index.origins()
            is_any = bool(origins.paths or origins.uploads)
            st.button("Check for changes", type="tertiary", on_click=check, args=(opened,), disabled=not is_any)
            st.button("Rename…", type="tertiary", on_click=_open, args=("rename",))
        st.button("New index…", type="tertiary", on_click=_open, args=("new",))
        st.button("Delete index…", type="tertiary", on_click=_open, args=("delete",))
        if opened is not None:
            st.button("About this index", type="tertiary", on_click=_open, args=("about",))


def _dialog(place: Place) -> None:
    """The dialog that is open, if one is."""
    dialogs = {"remove": _removing, "rename": _renaming, "new": _making, "delete": _deleting, "about": _about}
    if draw := dialogs.get(st.session_state.get("library.dialog") or ""):
        draw(place)


def check(opened: Opened) -> None:
    if _has_gone(opened.index.path, was_there=True):
        return
    origins = opened.index.origins()
    _say()
    _begin(Task(opened.index.path.absolute(), f"all of {opened.name}", origins.paths, origins.uploads))


def _open(dialog: str, chosen: frozenset[str] | None = None) -> None:
    """Open a dialog; it stays open, whatever is drawn anew meanwhile, until it is closed."""
    st.session_state.update(
        {"library.dialog": dialog, "library.chosen": chosen, "library.problem": "", "library.redraw": True}
    )


def _close() -> None:
    st.session_state.update({"library.dialog": None, "library.problem": ""})


def _close_of(index: str | None) -> None:
    """Close the dialog of an index that is shown no longer: left open, it would ask about another."""
    if st.session_state.get("library.dialog"):
        _close()
        if index and not is_there(Path(index)):
            _say(GONE)


def _words(*lines: str) -> None:
    component("library")(key="library-words", data={"kind": "words", "lines": [line for line in lines if line]})


def _problem() -> None:
    if problem := st.session_state.get("library.problem"):
        data = {"kind": "words", "lines": [problem], "problem": True}
        component("library")(key="library-problem", data=data)


def _confirm(label: str) -> bool:
    """Two buttons at the end of a dialog; whether the one that does it was pressed."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        cancel = st.button("Cancel", key="library.cancel")
        confirmed = st.button(label, type="primary", key="library.confirm")
    return _answered(confirmed, cancel)


def _ask_name(label: str, value: str = "") -> str | None:
    """A box for a name and two buttons; the name once it is to be so, by the button or by Enter."""
    with st.form("library.naming", border=False):
        name = st.text_input("Name", value=value, key="library.name", max_chars=80)
        _problem()
        # Enter presses the first button of a form: the style sheet shows it last, as in the other dialogs.
        with st.container(key="library-naming-buttons", horizontal=True):
            confirmed = st.form_submit_button(label, type="primary", key="library.confirm")
            cancel = st.form_submit_button("Cancel", key="library.cancel")
    return name if _answered(confirmed, cancel) else None


def _answered(confirmed: bool, cancel: bool) -> bool:
    if cancel:
        _close()
        st.rerun()
    return confirmed


def _try(act: Any, *arguments: Any) -> None:
    """Do what a dialog is for, and close it; or tell in it why that cannot be done."""
    try:
        act(*arguments)
    except RagError as exc:
        st.session_state["library.problem"] = told(str(exc))  # the dialog stays open, and shows it
    else:
        _close()
    st.rerun()


@st.dialog("Remove files", on_dismiss=_close)
def _removing(place: Place) -> None:
    opened = place.opened()
    assert opened is not None
    every = files_of(opened.index)
    if st.session_state.get("library.chosen") is None:  # all that were found: what is found later was not asked about
        st.session_state["library.chosen"] = frozenset(map(file_id, matching(every, _look())))
    chosen: frozenset[str] = st.session_state["library.chosen"]
    files = [file for file in every if file_id(file) in chosen]
    if not files:
        _close()
        st.rerun()
    _words(*removal_words(files, every, opened.name, paths=_may_name_paths()))
    _problem()
    if _confirm("Remove"):
        with st.spinner(f"Removing {plural(len(files), 'file')}"):
            _try(_remove, opened, files)


def _remove(opened: Opened, files: Sequence[FileState]) -> None:
    _must_be_unread(opened.index.path)
    n = opened.index.remove_files(files)
    _choose_none()
    _say(f"{plural(n, 'file')} removed from {opened.name}.")


@st.dialog("Rename index", on_dismiss=_close)
def _renaming(place: Place) -> None:
    if (name := _ask_name("Rename", place.name or "")) is not None:
        _try(_rename, place, name)


def _rename(place: Place, name: str) -> None:
    assert place.path is not None
    if name.strip() == place.name:
        return
    name = _new_name(place, name)
    _must_rest(place.path)
    _forget(place)
    renamed = Index.rename(place.path, name)
    jobs().dismiss(place.path)  # what is not finished is noted in the folder, and goes with it
    _choose(renamed.name)
    try:
        _threads(place).rename_index(place.path.name, renamed.name)
    except RagError as exc:  # the dialog is done all the same: what it asks has happened
        _say(f"The index was renamed; its threads still name it {place.name}: {told(str(exc))}")


def _new_name(place: Place, name: str) -> str:
    """A name for an index, of those in the page's folder; raises `UsageError` in words for people."""
    name = name.strip()
    if not name:
        raise UsageError("Give it a name.")
    if name.casefold() in map(str.casefold, place.names) and name.casefold() != (place.name or "").casefold():
        raise UsageError(f"There is an index {name!r} already: choose another name.")
    try:
        return checked_name(name)
    except UsageError as exc:
        raise UsageError(
            'A name has at most 80 characters, none of them / \\ : * ? " < > |, begins with neither a full stop nor a '
            "hyphen, and ends neither with a full stop nor as files of databases do."
        ) from exc


@st.dialog("New index", on_dismiss=_close)
def _making(place: Place) -> None:
    _words("An index is a set of documents that are asked together.")
    if (name := _ask_name("Make it")) is not None:
        with st.spinner("Making it"):
            _try(_make, place, name)


def _make(place: Place, name: str) -> None:
    folder = place.folder / _new_name(place, name)
    Index.create(folder).close()
    _say()
    _choose(folder.name)


@st.dialog("About this index", width="medium", on_dismiss=_close)
def _about(place: Place) -> None:
    opened = place.opened()
    assert opened is not None
    component("library")(
        key="library-facts", data=facts_view(opened.index.status(), opened.index.origins(), paths=_may_name_paths())
    )


@st.dialog("Delete index", on_dismiss=_close)
def _deleting(place: Place) -> None:
    assert place.path is not None
    _words(
        f"Delete the index {place.name}?",
        "The files it was made of stay where they are. "
        "Copies of files that were added here are deleted, and so are saved answers.",
    )
    forget = st.checkbox("Remove my threads about it, too", key="library.threads")
    _problem()
    if _confirm("Delete"):
        with st.spinner("Deleting it"):
            _try(_delete, place, forget)


def _threads(place: Place) -> Threads:
    return Threads(place.folder / FILE_NAME)


def _delete(place: Place, forget_threads: bool) -> None:
    assert place.path is not None
    _must_rest(place.path)
    _forget(place)
    Index.delete(place.path)
    jobs().dismiss(place.path)
    _say(f"The index {place.name} was deleted.")
    if forget_threads:
        try:
            _threads(place).remove_all(index=place.path.name, owner=owner())
        except RagError as exc:  # the dialog is done all the same: pressed again, it would ask about another index
            _say(f"The index was deleted; its threads could not be removed: {told(str(exc))}")
    left = [name for name in place.names if name != place.name]
    if left:
        _choose(left[0])


def _must_be_unread(path: Path) -> None:
    if jobs().active(path) is not None:
        raise UsageError("Files are being read into it. Stop that first, or wait until it is done.")


def _must_rest(path: Path) -> None:
    _must_be_unread(path)
    if running().is_busy(str(path)):
        raise UsageError("A question is being answered from it. Wait until it is done, then try again.")


def _forget(place: Place) -> None:
    assert place.path is not None
    let_go(place.path)
    _FILES.pop(str(place.path.absolute()), None)


def _choose(name: str) -> None:
    """Go to another index with the next run, as a link to it would."""
    bring(index=name)
