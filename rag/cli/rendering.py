"""What is printed: JSON forms for programs, words and tables for people, and a progress bar."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.queries import read_query
from rag.types import Chunk

if TYPE_CHECKING:
    from rag.doctor import Diagnosis
    from rag.index import IndexStatus
    from rag.ingest import IngestReport
    from rag.pipeline import Found, Part
    from rag.plan import FileChange, Preview
    from rag.progress import Progress
    from rag.runs import ChangedQuery, RankedDocument
    from rag.store import DocumentRow
    from rag.types import Answer, Citation, Explanation, Hit, JsonValue, Passage, Sentence, ShortAnswer

UNSUPPORTED = "[?]"  # behind a sentence that the passages do not support
_SENTENCES_SHOWN = 2  # of those that carry the similarity


def hit_json(hit: Hit) -> dict[str, JsonValue]:
    """A hit in the form of `rag search --json`."""
    chunk = hit.chunk
    form: dict[str, Any] = {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "chunk_id": hit.chunk_id,
        "source": chunk.doc_id,
        "title": chunk.title,
        "page": chunk.page,
        "section": chunk.section,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "also_in": [asdict(place) for place in hit.also_in],
    }
    return {**form, "explanation": asdict(hit.explanation)} if hit.explanation else form


def passage_json(passage: Passage) -> dict[str, JsonValue]:
    """A passage in the form of `rag search --window N --json`."""
    return {
        "rank": passage.rank,
        "score": round(passage.score, 6),
        "source": passage.source,
        "title": passage.title,
        "page": passage.page,
        "section": passage.section,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
        "hits": [hit_json(hit) for hit in passage.hits],
    }


def answer_json(answer: Answer) -> dict[str, JsonValue]:
    """An answer in the form of `rag ask --json`."""
    return {
        "question": answer.question,
        "answer": answer.text,
        "short_answer": asdict(answer.short_answer) if answer.short_answer else None,
        "abstained": answer.abstained,
        "confidence": round(answer.confidence, 4),
        "generator": answer.generator,
        "sentences": [
            {"text": s.text, "citations": list(s.citations), "supported": s.supported} for s in answer.sentences
        ],
        "citations": [asdict(citation) for citation in answer.citations],
        "nearest": [hit_json(hit) for hit in answer.nearest],
        "near_miss": asdict(answer.near_miss) if answer.near_miss else None,
        "notes": list(answer.notes),
        "rewritten": answer.rewritten,
        "timings_ms": dict(answer.timings_ms),
    }


def status_json(found: IndexStatus) -> dict[str, Any]:
    """What is in an index, in the form of `rag status --json`."""
    set_aside = [{"path": path, "reason": reason} for path, reason in found.set_aside]
    return {**asdict(found), "path": str(found.path), "set_aside": set_aside}


def print_json(value: Any) -> None:
    # Escaped to ASCII: what a document holds cannot break a line or a terminal, and a lone surrogate cannot stop it.
    click.echo(json.dumps(value))


def print_hits(hits: Sequence[Hit]) -> None:
    for hit in hits:
        click.echo(f"{hit.rank:>3}  {hit.score:.3f}  {click.style(_where(hit.chunk), bold=True)}")
        click.echo(_indented(" ".join(hit.chunk.text.split()), lines=3))
        if hit.also_in:
            click.echo(_indented("also in " + ", ".join(clean(place.source) for place in hit.also_in[:5])))
        if hit.explanation:
            _print_explanation(hit.chunk, hit.explanation)
    if not hits:
        click.echo("Nothing found.", err=True)


def _print_explanation(chunk: Chunk, why: Explanation) -> None:
    names = {"dense": "meaning", "bm25": "words", "late": "tokens", "reranker": "reranker"}
    shares = " + ".join(f"{value:.3f} {names[side]}" for side, value in why.shares.items())
    parts = [
        "" if why.cosine is None else f"cosine {why.cosine:.3f}",
        "" if why.bm25 is None else f"{why.bm25:.0%} of the highest BM25 score",
        "" if why.late is None else f"token match {why.late:.3f}",
    ]
    click.echo(_indented(f"why: {shares} ({', '.join(filter(None, parts))})"))
    if why.terms:
        held = ", ".join(f"{term} {value:.0%}" for term, value in why.terms.items())
        click.echo(_indented(f"words: {held}"))
    for share in sorted(why.sentences, key=lambda share: -share.value)[:_SENTENCES_SHOWN]:
        says = " ".join(chunk.text[share.start - chunk.start : share.end - chunk.start].split())
        click.echo(_indented(f"{share.value:+.3f} {says}", lines=1))


def print_passages(passages: Sequence[Passage]) -> None:
    """Each with the text of its hits marked."""
    for passage in passages:
        where = " · ".join([_where(passage.hits[0].chunk), f"characters {passage.start} to {passage.end}"])
        click.echo(f"{passage.rank:>3}  {passage.score:.3f}  {click.style(where, bold=True)}")
        at = passage.start
        for hit in sorted(passage.hits, key=lambda hit: hit.chunk.start):
            _print_part(passage.text[at - passage.start : hit.chunk.start - passage.start])
            _print_part(hit.chunk.text, mark="›")
            if hit.explanation:
                _print_explanation(hit.chunk, hit.explanation)
            at = hit.chunk.end
        _print_part(passage.text[at - passage.start :])
    if not passages:
        click.echo("Nothing found.", err=True)


def _print_part(text: str, *, mark: str = " ") -> None:
    if text.strip():
        prefix = f"   {mark} "
        words = clean(" ".join(text.split()))
        click.echo(textwrap.fill(words, width=_width(), initial_indent=prefix, subsequent_indent=prefix))


class AnswerPrinter:
    """Prints an answer for people, sentence by sentence while it is written, broken into lines."""

    def __init__(self, question: str, *, where: Sequence[str] = ()) -> None:
        self._question = question
        self._where = where
        self._column = 0

    def add(self, part: Found | Part) -> None:
        """A part of `Pipeline.stream`."""
        from rag.pipeline import Found

        if not isinstance(part, Found):
            self._add(part.sentence)
        elif part.question != self._question:
            click.echo(click.style(f"({clean(part.question)})", dim=True))

    def _add(self, sentence: Sentence) -> None:
        marks = "".join(f"[{marker}]" for marker in sentence.citations) if sentence.supported else UNSUPPORTED
        for word in f"{clean(sentence.text)}{marks}".split():
            if self._column and self._column + 1 + len(word) > _width():
                click.echo()
                self._column = 0
            click.echo(f"{' ' if self._column else ''}{word}", nl=False)
            self._column += len(word) + (self._column > 0)
        sys.stdout.flush()

    def end(self, answer: Answer) -> None:
        """What stands below the sentences, or in their place."""
        if answer.abstained:
            _print_silence(answer, self._where)
        else:
            click.echo()
        for citation in answer.citations:
            _print_citation(citation, answer.short_answer)
        for note in answer.notes:
            click.echo(f"\n{textwrap.fill(clean(note), width=_width())}", err=True)
        seconds = answer.timings_ms.get("total", 0.0) / 1000
        said = f"{clean(answer.generator)}, confidence {answer.confidence:.2f}, {seconds:.2f} s"
        click.echo(click.style(f"\n({said})", dim=True), err=True)


def _print_silence(answer: Answer, where: Sequence[str]) -> None:
    click.echo(click.style(answer.text, bold=True))
    if answer.near_miss:
        click.echo("\nWhat they do say that comes near:")
        _print_citation(answer.near_miss)
        return
    if answer.nearest:
        click.echo("\nThese passages came nearest; none answers the question.")
    elif unmet := read_query(answer.question).unmet:
        click.echo(f"\n{clean(unmet)}")
    elif where:
        click.echo(f"\nNo document meets {clean(' and '.join(where))}: rag list --where shows which would.")
    else:
        click.echo("\nThe index holds no documents yet: add some with rag ingest PATH.")
    for hit in answer.nearest[:3]:
        click.echo(f"\n  {_where(hit.chunk)}")
        click.echo(_indented(" ".join(hit.chunk.text.split()), lines=2))


def _print_citation(citation: Citation, short: ShortAnswer | None = None) -> None:
    """The place and its words, those that answer in bold."""
    click.echo(f"\n[{citation.marker}] {click.style(_where(citation), bold=True)}")
    quote = _indented(f"“{' '.join(citation.quote.split())}”")
    if short and short.marker == citation.marker:
        words = r"\s+".join(re.escape(clean(word)) for word in short.text.split())
        before = len(re.findall(words, " ".join(clean(citation.quote[: short.start - citation.start]).split())))
        for n, match in enumerate(re.finditer(words, quote)):
            if n == before:
                quote = quote[: match.start()] + click.style(match[0], bold=True) + quote[match.end() :]
                break
    click.echo(quote)


def print_report(report: IngestReport, folder: Path) -> None:
    parts = [f"{report.read} files read", f"{report.unchanged} unchanged"]
    if report.moved:
        parts.append(f"{report.moved} moved")
    if report.removed:
        parts.append(f"{report.removed} removed")
    parts.append(f"{len(report.set_aside)} set aside")
    click.echo(
        f"{', '.join(parts)}; {report.chunks} passages, {report.embedded} embedded, {report.seconds:.1f} s → {folder}"
    )
    for path, reason in report.set_aside:
        click.echo(f"  set aside: {clean(path)}: {clean(reason)}")
    for path, note in report.notes:
        click.echo(f"  note: {clean(path)}: {clean(note)}")
    if report.skipped:
        kinds = ", ".join(f"{n} {clean(suffix)}" for suffix, n in report.skipped.most_common())
        click.echo(f"  skipped, of types that are not read: {kinds}")


def print_preview(preview: Preview) -> None:
    for change in preview.changes:
        print_change(change)
    changed = Counter(change.kind for change in preview.changes)
    parts = [f"{n} {kind}" for kind, n in changed.items()]
    click.echo(f"Would be: {', '.join(parts) or 'nothing changed'}; of {preview.n_files} files.", err=True)


def print_change(change: FileChange) -> None:
    """One line for what happens to one file."""
    detail = {"moved": f", from {change.detail}", "set aside": f": {change.detail}"}.get(change.kind, "")
    click.echo(f"{change.kind:<9} {clean(change.path)}{clean(detail)}")


def print_documents(rows: Sequence[DocumentRow]) -> None:
    for row in rows:
        click.echo(f"{row.n_chunks:>6}  {clean(row.source)}" + (f"  ({clean(row.title)})" if row.title else ""))
    click.echo(f"{len(rows)} documents. The first column counts passages.", err=True)


def print_status(found: IndexStatus) -> None:
    last = found.last_ingest
    rows = [
        ("index", str(found.path)),
        ("documents", f"{found.documents} in {found.files} files"),
        ("passages", str(found.chunks) + (f", {found.waiting} wait for their vectors" if found.waiting else "")),
        ("size", f"{found.bytes / 1e6:.1f} MB ({_parts_of(found.sizes)})"),
        ("encoder", f"{found.encoder} ({_form_of(found)})"),
        ("vectors", _vectors_of(found.vectors)),
        *(
            [("tokens", f"none kept of {found.without_tokens} texts: rag reembed makes them, if the encoder can")]
            if found.without_tokens
            else []
        ),
        *([("changing to", f"{found.reembedding}: rag reembed goes on with it")] if found.reembedding else []),
        ("folders", ", ".join(map(clean, found.roots)) or "none"),
        ("created", found.created),
        ("last ingest", _last(last) if last else "never"),
        ("set aside", str(len(found.set_aside))),
    ]
    for name, value in rows:
        click.echo(f"{name:<12} {value}")
    for path, reason in found.set_aside:
        click.echo(f"  {clean(path)}: {clean(reason)}")


def _form_of(found: IndexStatus) -> str:
    """How the encoder is run, and what that loses."""
    lost = "" if found.encoder_cosine is None else f", mean cosine to 32 bits {found.encoder_cosine:.4f}"
    return clean(found.encoder_form) + lost


def _vectors_of(record: Mapping[str, JsonValue]) -> str:
    """How the vectors are searched, and what that loses."""
    if record["kind"] == "exact":
        return "exact"
    return f"{record['kind']}, recall@10 {record['recall@10']:.3f} of exact ({record['queries']} queries)"


def _parts_of(sizes: Mapping[str, int]) -> str:
    """What the larger files of an index take."""
    parts = {"SQLite": 0, "vectors": 0, "other": 0}
    for name, size in sizes.items():
        part = "SQLite" if name.startswith("index.sqlite") else "vectors" if name.startswith("vectors-") else "other"
        parts[part] += size
    return ", ".join(f"{part} {size / 1e6:.1f}" for part, size in parts.items() if size)


def _last(report: Mapping[str, Any]) -> str:
    parts = [f"{report[name]} {name}" for name in ("read", "unchanged", "moved", "removed") if report.get(name)]
    stopped = ", stopped before its end" if report.get("stopped") else ""
    return f"{report['at']}: {', '.join(parts) or 'nothing to do'}{stopped}"


def print_diagnosis(diagnosis: Diagnosis, *, repaired: bool) -> None:
    for check in diagnosis.checks:
        verdict = ("mended" if check.mended else "holds") if check.holds else "FAILS"
        click.echo(f"{click.style(f'{verdict:<6}', bold=not check.holds)}  {check.name:<11} {check.promise}")
        for fault in check.faults:
            click.echo(f"{'':8}{clean(fault)}")
        for note in check.notes:
            click.echo(f"{'':8}note: {clean(note)}")
    if diagnosis.holds and any(check.notes for check in diagnosis.checks):
        click.echo("All holds, but for what the notes above ask for.")
    elif diagnosis.holds:
        click.echo("All holds.")
    elif repaired:
        click.echo("What still fails cannot be mended from what is there: its own words say what helps.", err=True)
    else:
        click.echo("rag doctor --repair mends what can be mended from what is there.", err=True)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        click.echo(
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        )


def print_changed_query(changed: ChangedQuery, *, question: str, titles: Mapping[str, str]) -> None:
    """A query that two runs do not answer equally well: what it asks, and the first hits of both side by side."""
    click.echo(
        f"\n{click.style(clean(changed.query_id), bold=True)}  {changed.a:.4f} → {changed.b:.4f}"
        f" ({changed.b - changed.a:+.4f})"
    )
    if question.strip():
        click.echo(_indented(" ".join(question.split()), lines=3))
    half = (_width() - 3) // 2
    columns = (_ranked_lines("A", changed.hits_a, titles), _ranked_lines("B", changed.hits_b, titles))
    for left, right in zip_longest(*columns, fillvalue=""):
        click.echo(f"{_cut(left, half).ljust(half)} | {_cut(right, half)}".rstrip())


def _ranked_lines(heading: str, hits: Sequence[RankedDocument], titles: Mapping[str, str]) -> list[str]:
    """A line a document; a star stands before the relevant ones."""
    lines = [f"     {heading}"]
    for rank, hit in enumerate(hits, start=1):
        title = " ".join(titles.get(hit.doc_id, "").split())
        lines.append(clean(f"{'*' if hit.relevance > 0 else ' '} {rank:>2} {hit.doc_id}  {title}".rstrip()))
    return lines if hits else [*lines, "     nothing"]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def clean(text: str, *, keep: str = "") -> str:
    """Control characters shown as escapes: a file name or a document cannot drive the terminal or break a line."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _where(place: Chunk | Citation) -> str:
    """Path, page and section of a chunk or citation, in one line."""
    source = place.doc_id if isinstance(place, Chunk) else place.source
    parts = [source, f"page {place.page}" if place.page is not None else "", place.section or ""]
    return clean(" · ".join(part for part in parts if part))


def _indented(text: str, *, lines: int | None = None) -> str:
    return textwrap.fill(
        clean(text),
        width=_width(),
        initial_indent="     ",
        subsequent_indent="     ",
        max_lines=lines,
        placeholder=" …",
    )


def _width() -> int:
    with suppress(OSError):
        return min(max(os.get_terminal_size().columns, 40), 100)
    return 100


class ProgressBar:
    """Files, passages and time left on stderr; silent where that is not a terminal."""

    def __init__(self, *, unit: str = "file", every_s: float = 0.1) -> None:
        self._unit = unit
        self._every_s = every_s  # drawing costs more than looking at a file that has not changed
        self._drawn_at = -every_s
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, progress: Progress) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.files_total, unit=self._unit, file=sys.stderr, leave=False, dynamic_ncols=True
            )
        self._bar.n = progress.files_done
        self._bar.set_postfix_str(f"{progress.chunks} passages, {clean(progress.current)[-30:]}", refresh=False)
        if time.monotonic() - self._drawn_at >= self._every_s:
            self._drawn_at = time.monotonic()
            self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def bracketed(interval: Sequence[float] | None, *, form: str = ".4f") -> str:
    """An interval behind a number; nothing where there is none."""
    return "" if interval is None else f" [{', '.join(format(end, form) for end in interval)}]"
