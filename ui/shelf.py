"""What the Library page shows, as plain values: files and how they stand, a reading and how it goes, an index's facts.

Nothing here knows Streamlit. The values go to web/library.js as JSON, which sets them as text nodes.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from rag.index import IndexStatus, Origins
from rag.store import FileState
from rag.types import JsonValue
from rag.uploads import UPLOADS
from ui.access import told
from ui.changes import Changed
from ui.jobs import Job
from ui.reading import Standing as Reached
from ui.reading import Task
from ui.render import Json
from ui.uploads import megabytes

ROWS = 50  # on a page of the table
_SKIPPED_SHOWN = 4

Standing = Literal["all", "ready", "aside"]


@dataclass(frozen=True, slots=True)
class Look:
    """What of the files is looked at."""

    find: str = ""  # any part of the name, or of why one was set aside
    standing: Standing = "all"
    page: int = 0  # from 0


# Files


def file_id(file: FileState) -> str:
    """What the browser calls a file by: it holds as long as the file has its place and name."""
    return hashlib.sha256(f"{file.root}\0{file.name}".encode()).hexdigest()[:24]


def matching(files: Sequence[FileState], look: Look) -> list[FileState]:
    """Those files that are looked at, in their order."""
    return [file for file in files if _is_found(file, look.find) and _stands(file, look.standing)]


def files_view(files: Sequence[FileState], look: Look, *, locked: str = "", paths: bool = True) -> Json:
    """One page of the table.

    Args:
        files: all of the index.
        look: what of them is looked at; a page that is not there is the last.
        locked: why none can be removed now, in a sentence; '' where they can.
        paths: whether the reader may know where things are on this computer.
    """
    found = [file for file in files if _is_found(file, look.find)]
    aside = sum(file.reason is not None for file in found)
    shown = [file for file in found if _stands(file, look.standing)]
    last = max((len(shown) - 1) // ROWS, 0)
    page = min(max(look.page, 0), last)
    roots = _root_names(files, paths=paths)
    return {
        "kind": "files",
        "find": look.find,
        "standing": look.standing,
        "counts": {"all": len(found), "ready": len(found) - aside, "aside": aside},
        "page": page,
        "pages": last + 1,
        "first": page * ROWS + 1 if shown else 0,
        "n": len(shown),
        "total": len(files),
        "locked": locked,
        "rows": [_row(file, roots) for file in shown[page * ROWS : (page + 1) * ROWS]],
    }


def _is_found(file: FileState, find: str) -> bool:
    wanted = find.casefold().split()
    held = f"{file.name} {file.reason or ''}".casefold()
    return all(word in held for word in wanted)


def _stands(file: FileState, standing: Standing) -> bool:
    return standing == "all" or (file.reason is not None) == (standing == "aside")


def _root_names(files: Sequence[FileState], *, paths: bool) -> dict[str, str]:
    """What stands before the names of files, by root: with several, each folder's own name, or its path.

    Who may not know the path is told of folders of one name by numbers.
    """
    roots = sorted({file.root for file in files if file.root and file.root != UPLOADS})
    if len(roots) < 2:
        return {}
    bases = {root: os.path.basename(root) for root in roots}
    names = Counter(bases.values())
    if paths:
        return {root: base if names[base] == 1 and base else at_home(root) for root, base in bases.items()}
    seen: Counter[str] = Counter()
    numbered = {}
    for root, base in bases.items():
        seen[base] += 1
        numbered[root] = base if seen[base] == 1 else f"{base} ({seen[base]})"
    return numbered


def _row(file: FileState, roots: Mapping[str, str]) -> Json:
    folder, _, name = file.name.rpartition("/")
    where = [roots[file.root]] if file.root in roots else []
    return {
        "id": file_id(file),
        "name": name,
        "folder": "/".join([*where, *([folder] if folder else [])]),
        "label": file.name,
        "aside": file.reason is not None,
        "state": f"set aside: {file.reason}" if file.reason is not None else "ready",
        "notes": list(file.notes),
        "passages": file.n_chunks,
        "kept": "added here" if file.root == UPLOADS else "",
    }


def removal_words(
    files: Sequence[FileState], known: Sequence[FileState], index: str, *, paths: bool = True
) -> tuple[str, str]:
    """What removing files asks, and what else there is to know; the latter may be empty.

    Args:
        files: to be removed.
        known: all of the index.
        index: its name.
        paths: whether the reader may know where things are on this computer.
    """
    n, copies = len(files), sum(file.root == UPLOADS for file in files)
    question = f"Remove {files[0].name if n == 1 else f'{n:,} files'} from {index}?"
    if copies == n:
        what = "the copy that was made when it was" if n == 1 else "the copies that were made when they were"
        return f"{question} With {'it goes' if n == 1 else 'them go'} {what} added here.", ""
    question += " The file itself stays where it is." if n == 1 else " The files themselves stay where they are."
    if copies:
        were, go = ("was", "that copy goes") if copies == 1 else ("were", "those copies go")
        question += f" {copies:,} of them {were} added here: {go}."
    left = Counter(file.root for file in known) - Counter(file.root for file in files)
    roots = {file.root for file in files} - {"", UPLOADS}
    if not roots:
        return question, ""
    if all(left[root] for root in roots):
        return question, (
            "What is removed of a folder comes back when it is checked for changes, unless a .ragignore there names it."
        )
    whole = [_named(root, paths=paths) for root in sorted(roots) if not left[root]]
    return question, f"Nothing is left of {' and '.join(whole)} then: it is checked for changes no longer."


# The head of the page


def head_view(status: IndexStatus, files: Sequence[FileState]) -> Json:
    """Which index this is, and what is in it."""
    ready = sum(file.reason is None for file in files)
    if not files:
        return {"kind": "head", "title": status.path.name, "text": "Nothing is in here yet. Add files, or a folder."}
    aside = len(files) - ready
    parts = [f"{plural(ready, 'file')} ready"]
    if aside:
        parts.append(f"{aside:,} set aside")
    parts.append(plural(status.chunks, "passage"))
    if status.last_ingest:
        parts.append(f"last read {_when(str(status.last_ingest['at']))}")
    return {"kind": "head", "title": status.path.name, "text": " · ".join(parts)}


def facts_view(status: IndexStatus, origins: Origins, *, paths: bool = True) -> Json:
    """What `rag status` says, in words that need no learning.

    Args:
        status: of the index.
        origins: of its documents.
        paths: whether the reader may know where things are on this computer.
    """
    encoder = f"{told(status.encoder)} ({status.encoder_form}). It read the documents, so it also reads the questions."
    facts: list[tuple[str, str]] = [
        ("Documents", f"{status.documents:,} in {plural(status.files, 'file')}"),
        ("Passages", f"{status.chunks:,}" + (f", {status.waiting:,} still to be read" if status.waiting else "")),
        ("Folders", "\n".join(_named(root, paths=paths) for root in status.roots) or "none"),
        ("Added here", plural(len(origins.uploads), "file")),
        ("Size", megabytes(status.bytes) + (f" in {at_home(str(status.path.absolute()))}" if paths else "")),
        ("Reading model", encoder),
        ("Made", _when(status.created)),
    ]
    if status.last_ingest:
        facts.append(("Last read", _when(str(status.last_ingest["at"]))))
    if status.reembedding:
        facts.append(("Changing to", f"{status.reembedding}: rag reembed goes on with it"))
    return {"kind": "facts", "facts": [list(fact) for fact in facts]}


# A reading


def reading_view(
    job: Job | None,
    *,
    queued: Sequence[Job] = (),
    unfinished: Sequence[Task] = (),
    other: str = "",
    changed: Changed | None = None,
    paths: bool = True,
) -> Json:
    """How a reading goes, or went, in one line; or else that one is due.

    Args:
        job: the one under way, or else the last that is over.
        queued: those that wait behind it.
        unfinished: what was left unread, where no reading is under way.
        other: who else writes to the index, in words.
        changed: since the files were read.
        paths: whether the reader may know where things are on this computer.
    """
    title = partial(title_of, paths=paths)
    view: Json = {"kind": "reading", "text": "", "more": "", "share": None, "state": "none", "actions": []}
    if job is not None and not (changed and job.state == "done"):
        view.update(_over(job, title(job.task)) if job.is_over else _under_way(job, title(job.task)))
        view["number"] = job.number
    elif unfinished:
        what = title(unfinished[0]) if len(unfinished) == 1 else f"{len(unfinished)} folders or files"
        view.update(
            state="unfinished",
            text=f"The last reading of {what} was not finished.",
            actions=[["go on", "Go on"], ["dismiss", "Leave it"]],
        )
    elif other:
        view.update(state="other", text=told(f"Another program writes to this index just now: {other}."))
    elif changed:
        view.update(_due(changed))
    view["queued"] = [{"number": waits.number, "text": f"Next: {title(waits.task)}"} for waits in queued]
    return view


def _due(changed: Changed) -> Json:
    n = changed.edited or changed.gone
    files = changed.first if changed.edited + changed.gone == 1 else plural(n, "file")
    it_was, is_ = ("it was", "is") if n == 1 else ("they were", "are")
    if changed.edited:
        gone = f", and {changed.gone:,} {'has' if changed.gone == 1 else 'have'} gone" if changed.gone else ""
        text = f"{files} changed after {it_was} read{gone}."
    else:
        text = f"{files} {is_} not where {it_was} any more."
    return {
        "state": "due",
        "text": text,
        "more": "Answers still come from what was read."
        + (" Brought up to date, the index forgets what has gone." if changed.gone else ""),
        "actions": [["check", "Bring up to date"], ["leave", "Not now"]],
    }


def title_of(task: Task, *, paths: bool) -> str:
    """What a reading is called: a folder by its path, or by its own name."""
    if paths or len(task.paths) != 1 or task.uploads:
        return task.title
    return _named(task.paths[0], paths=False)


def _under_way(job: Job, title: str) -> Json:
    at = job.standing
    stop: list[JsonValue] = [["stop", "Stop"]]
    if job.state == "waiting":
        return {"state": "running", "text": f"{title} waits for its turn.", "actions": stop}
    more = f"You can ask already: {plural(at.files_in, 'file')} {'is' if at.files_in == 1 else 'are'} in."
    if not at.files_in:
        more = "You can ask as soon as the first files are in."
    if job.waits_for:
        text = told(f"{title} waits until another program is done: {job.waits_for}.")
    elif not at.files_total:
        text = f"Looking through {title}"
    else:
        parts = [f"{at.files_done:,} of {plural(at.files_total, 'file')}"]
        parts += [at.current] if at.current else []
        parts += [f"{time_left(job.seconds_left)} left"] if job.seconds_left is not None and at.current else []
        text = " · ".join(parts if at.current else [*parts, "finishing"])
    if job.state == "stopping":
        text = f"Stopping after {at.current}" if at.current else "Stopping"
        more = "What was read is kept."
        stop = []
    share = at.files_done / at.files_total if at.files_total else 0.0
    return {"state": "running", "text": text, "more": more, "share": round(share, 4), "actions": stop}


def _over(job: Job, title: str) -> Json:
    close: list[JsonValue] = ["dismiss", "Close"]
    if job.state == "failed":
        return {
            "state": "failed",
            "text": f"{title}: {told(job.problem)}",
            "actions": [["go on", "Try again"], ["dismiss", "Leave it"]],
        }
    if job.finished is None:  # stopped while it waited
        return {
            "state": "stopped",
            "text": f"{title} was not read.",
            "actions": [["go on", "Read it"], ["dismiss", "Leave it"]],
        }
    report = job.finished.report
    text, more = report_words(report, edited=job.finished.edited)
    if job.state == "stopped":
        return {
            "state": "stopped",
            "text": f"Stopped{_so_far(job.standing)}. {text}",
            "more": "What was read is kept, and can be asked.",
            "actions": [["dismiss", "Leave it"], ["go on", "Go on"]],  # the last where "Stop" was, for a second press
        }
    actions: list[JsonValue] = [["aside", "Why"], close] if report["set_aside"] else [close]
    return {"state": "done", "text": text, "more": more, "actions": actions}


def _so_far(at: Reached) -> str:
    return f" at {at.files_done:,} of {plural(at.files_total, 'file')}" if at.files_done < at.files_total else ""


def report_words(report: dict[str, object], *, edited: int) -> tuple[str, str]:
    """What a reading came to: a sentence, and another on what was left alone; either may be short."""
    read, unchanged, moved, removed = (int(str(report[k])) for k in ("read", "unchanged", "moved", "removed"))
    aside = report["set_aside"]
    n_aside = len(aside) if isinstance(aside, list) else 0
    parts = []
    if read:
        anew = " anew" if edited == read else f", {edited:,} of them anew" if edited else ""
        parts.append(f"{plural(read, 'file')} read{anew}")
    parts += [f"{moved:,} moved"] * bool(moved)
    parts += [f"{removed:,} gone"] * bool(removed)
    parts += [f"{unchanged:,} as before" if parts else f"{plural(unchanged, 'file')}, as before"] * bool(unchanged)
    parts += [f"{n_aside:,} set aside" if parts else f"{plural(n_aside, 'file')} set aside"] * bool(n_aside)
    skipped = report["skipped"]
    counts = Counter(skipped) if isinstance(skipped, dict) else Counter()
    left = ""
    if counts:
        kinds = [f"{kind} ({n:,})" for kind, n in counts.most_common(_SKIPPED_SHOWN)]
        more = len(counts) - len(kinds)
        left = (
            f"Left alone, as they are of no kind that is read: {', '.join(kinds)}{f' and {more} more' if more else ''}."
        )
    return f"{', '.join(parts)}." if parts else "There was nothing to read.", left


# Words


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def time_left(seconds: float) -> str:
    """A span of time as people say it: no more exact than it is known."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"{round(seconds / 10) * 10} s"
    minutes = seconds / 60
    if minutes < 60:
        return f"{max(round(minutes), 1)} min"
    hours, rest = divmod(round(minutes / 10) * 10, 60)
    return f"{hours:.0f} h {rest:.0f} min" if rest else f"{hours:.0f} h"


def _named(root: str, *, paths: bool) -> str:
    """A folder by its path, or by its own name alone."""
    return at_home(root) if paths else os.path.basename(root)


def at_home(path: str) -> str:
    """A path with '~' for the user's own folder."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if home != os.sep and (path == home or path.startswith(home + os.sep)) else path


def _when(iso: str) -> str:
    """A time of the index, in the reader's own zone."""
    try:
        at = datetime.fromisoformat(iso).astimezone()
    except ValueError:
        return iso
    day = "today" if at.date() == datetime.now().astimezone().date() else f"{at.day} {at:%B %Y}"
    return f"{day}, {at:%H:%M}"
