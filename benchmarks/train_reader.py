"""Trains the reader: an adapter of the default model that reads question and passage together.

    python -m benchmarks.train_reader ../shared/data [--write]

Trained on what benchmarks/questions.py calls 'train' of SQuAD 1.1 and of the unanswerable questions of 2.0, of SelQA,
CLAPNQ and PolicyQA; nothing is reported on these, and nothing that stands on the reader is fitted on them. The loss is
that of a softmax over all sentences of a passage that answers and of two that do not, the better found the more often,
and a sentence of log-odds 0, "none of these"; plus that of where the short answer begins and ends (SQuAD 1.1 and
PolicyQA). Of PolicyQA, which asks the same words of many paragraphs, only the one that the question was written for is
shown. In half of the examples each token of the question is masked with a chance of 15 %, so that no single word
decides. All matrices of the transformer get low-rank products (Hu et al. 2021), its biases and layer norms are trained
as they are. It takes three quarters of an hour on 2 quiet cores. --write replaces rag/reader.safetensors; then
benchmarks/fit_extractive.py is to be run.

The data: SQuAD is CC BY-SA 4.0, SelQA and CLAPNQ Apache-2.0 (their text from Wikipedia, CC BY-SA), PolicyQA MIT, the
model Apache-2.0. The adapter holds none of their text.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.fit_extractive import label
from benchmarks.questions import Dataset, read_clapnq, read_policyqa, read_selqa, read_squad
from rag.encoders import CompiledEncoder, bundled_model, load_encoder
from rag.encoders.base import DEFAULT_WEIGHTS_SHA256, read_model_spec
from rag.encoders.running import read_tokenizer
from rag.generators.extractive import ExtractiveGenerator, Weights
from rag.index import Index
from rag.pipeline import DEFAULT_PASSAGES
from rag.reader import BEGIN, END, SENTENCE, pairs_of
from rag.retriever import Retriever

OUTPUT = Path(__file__).resolve().parent.parent / "rag" / "reader.safetensors"
HEADS = 3
_SEP, _MASK = 102, 103
_MASKED = 0.5  # share of the questions
_MASKED_TOKENS = 0.15  # share of their tokens
_HAS_SHORT_ANSWERS = {"squad-1.1", "policyqa"}


@dataclass(frozen=True, slots=True)
class Read:
    """One passage with its question, as the model is given them."""

    token_ids: list[int]
    sentences: NDArray[np.int64]  # (sentences, 2): among the tokens
    is_gold: list[bool]
    short: list[tuple[int, int]]  # first and last token of each gold answer
    passage: slice  # its tokens


@dataclass(frozen=True, slots=True)
class Example:
    dataset: str
    gold: tuple[Read, ...]  # passages that answer; of a question without an answer, the one that it was written for
    others: tuple[Read, ...]  # that do not, the best first
    has_answer: bool


def examples(dataset: Dataset, encoder: CompiledEncoder) -> Iterator[Example]:
    """Each question with the passages that are found for it among its set's."""
    tokenizer = read_tokenizer(read_model_spec(_folder(), weights_sha256=DEFAULT_WEIGHTS_SHA256))
    with tempfile.TemporaryDirectory() as folder, Index.create(Path(folder) / "index", encoder=encoder) as index:
        index.add(dataset.documents)
        retriever = Retriever(index)
        generator = ExtractiveGenerator(encoder, index, weights=Weights("", (), ()))
        asked = {(q.text, q.source): q for q in dataset.questions if dataset.name != "squad-2.0" or not q.spans}
        for number, question in enumerate(asked.values()):
            hits = retriever.search(question.text, k=DEFAULT_PASSAGES)
            gold, others = [], []
            candidates = generator.candidates(question.text, hits)
            for p, hit in enumerate(hits):
                chunk = hit.chunk
                mine = [c for c in candidates if c.span.passage == p]
                labels = [label(question, c, chunk.doc_id, bool(question.spans)) for c in mine]
                spans = [(c.span.start - chunk.start, c.span.end - chunk.start) for c in mine]
                for part, pair in pairs_of(tokenizer, question.text, chunk, spans):
                    rows = [i for i in part if pair.sentences[i - part.start][1]]
                    if not rows:
                        continue
                    answers = question.spans if chunk.doc_id == question.source else ()
                    of_text = np.nonzero(pair.offsets[:, 0] >= 0)[0]
                    read = Read(
                        pair.token_ids,
                        pair.sentences[[i - part.start for i in rows]],
                        [labels[i] == 1 for i in rows],
                        [s for a, b in answers if (s := _tokens(pair.offsets, a - chunk.start, b - chunk.start))],
                        slice(int(of_text[0]), int(of_text[-1]) + 1),
                    )
                    if any(read.is_gold) or (chunk.doc_id == question.source and not question.spans):
                        gold.append(read)
                    elif not any(labels[i] == -1 for i in rows) and chunk.doc_id != question.source:
                        others.append(read)
            if others and (gold or not question.spans):
                yield Example(dataset.name, tuple(gold), tuple(others), bool(question.spans))
            if number % 500 == 0:
                say(f"{dataset.name}: {number} of {len(asked)} questions")


def read_examples(data: Path) -> list[Example]:
    """Of all sets."""
    encoder = load_encoder()
    assert isinstance(encoder, CompiledEncoder)
    sets = [
        read_squad(data, "1.1", part="train"), read_squad(data, "2.0", part="train"), read_selqa(data, part="train"),
        read_clapnq(data, part="train"), read_policyqa(data, part="train"),
    ]  # fmt: skip
    return [example for dataset in sets for example in examples(dataset, encoder)]


def _tokens(offsets: NDArray[np.int64], start: int, end: int) -> tuple[int, int] | None:
    inside = np.nonzero((offsets[:, 0] < end) & (offsets[:, 1] > start) & (offsets[:, 0] >= 0))[0]
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


class LowRank(nn.Module):
    """A frozen linear layer plus a product of two thin matrices; its bias is trained."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.a = nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.linear(x) + (x @ self.a.T) @ self.b.T
        return changed


class ReaderModel(nn.Module):
    """The default model with low-rank changes, and the heads."""

    def __init__(self, rank: int) -> None:
        from transformers import AutoModel

        super().__init__()
        self.body: Any = AutoModel.from_pretrained(_folder(), attn_implementation="sdpa", add_pooling_layer=False)
        for name, parameter in self.body.named_parameters():
            parameter.requires_grad_("encoder" in name and ("LayerNorm" in name or name.endswith("bias")))
        for layer in self.body.encoder.layer:
            for parent, name in (
                (layer.attention.self, "query"), (layer.attention.self, "key"), (layer.attention.self, "value"),
                (layer.attention.output, "dense"), (layer.intermediate, "dense"), (layer.output, "dense"),
            ):  # fmt: skip
                setattr(parent, name, LowRank(getattr(parent, name), rank))
        self.heads = nn.Linear(self.body.config.hidden_size, HEADS)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(self, rows: Sequence[Read]) -> list[torch.Tensor]:
        """The heads' numbers for each token of each row."""
        longest = max(len(row.token_ids) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row.token_ids)] = torch.tensor(row.token_ids)
            mask[i, : len(row.token_ids)] = 1
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.body(input_ids=ids, attention_mask=mask).last_hidden_state
        return [self.heads(hidden[i, : len(row.token_ids)].float()) for i, row in enumerate(rows)]

    def save(self, file: Path, *, note: dict[str, str]) -> None:
        """As `rag.encoders.adapters.Adapter` reads it, in 16 bits."""
        from safetensors.torch import save_file

        found = {"heads.weight": self.heads.weight, "heads.bias": self.heads.bias}
        for name, parameter in self.body.named_parameters():
            if not parameter.requires_grad:
                continue
            if name.endswith((".a", ".b")):
                found[f"{name[:-2]}.weight{name[-2:]}"] = parameter
            else:
                found[name.replace(".linear.", ".")] = parameter
        tensors = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in found.items()}
        save_file(tensors, file, metadata=note)


def losses(example: Example, reads: Sequence[Read], tokens: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Of which sentence answers, and, where it is known, of the short answer."""
    odds, gold = [torch.zeros(1)], []
    short = []
    at = 1
    for read, numbers in zip(reads, tokens, strict=True):
        total = torch.cat([torch.zeros(1), numbers[:, SENTENCE].cumsum(0)])
        begin, end = torch.from_numpy(read.sentences).T
        odds.append((total[end] - total[begin]) / (end - begin))
        gold += [at + i for i, is_gold in enumerate(read.is_gold) if is_gold]
        at += len(read.is_gold)
        if read.short and example.dataset in _HAS_SHORT_ANSWERS:
            passage = read.passage
            begins = functional.log_softmax(numbers[passage, BEGIN], 0)
            ends = functional.log_softmax(numbers[passage, END], 0)
            spans = [begins[a - passage.start] + ends[b - passage.start] for a, b in read.short]
            short.append(-torch.logsumexp(torch.stack(spans), 0))
    chances = functional.log_softmax(torch.cat(odds), 0)
    right = -torch.logsumexp(chances[gold], 0) if gold else -chances[0]
    return (right, *short[:1])


def train(found: Sequence[Example], *, rank: int, epochs: float, batch: int, rate: float, seed: int = 0) -> ReaderModel:
    torch.manual_seed(seed)
    draw = random.Random(seed)
    model = ReaderModel(rank)
    body = [p for p in model.body.parameters() if p.requires_grad]
    groups = [{"params": body, "lr": rate}, {"params": model.heads.parameters(), "lr": 2 * rate}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    n_steps = int(len(found) * epochs / batch)
    warm = max(n_steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (n_steps - step) / (n_steps - warm)))
    )
    model.train()
    started, queue = time.monotonic(), list[Example]()
    history: list[tuple[float, float]] = []
    for step in range(n_steps):
        if len(queue) < batch:
            queue += draw.sample(list(found), len(found))
        chosen, queue = queue[:batch], queue[batch:]
        reads = [_drawn(example, draw) for example in chosen]
        flat = [(n, read) for n, of_example in enumerate(reads) for read in of_example]
        order = sorted(range(len(flat)), key=lambda i: len(flat[i][1].token_ids))
        tokens: list[torch.Tensor] = [torch.empty(0)] * len(flat)
        for part in (order[: len(order) // 2], order[len(order) // 2 :]):  # less padding
            for i, numbers in zip(part, model([flat[i][1] for i in part]), strict=True):
                tokens[i] = numbers
        sentence, short = [], []
        for n, example in enumerate(chosen):
            mine = [i for i, (owner, _) in enumerate(flat) if owner == n]
            right, *spans = losses(example, [flat[i][1] for i in mine], [tokens[i] for i in mine])
            sentence.append(right)
            short += spans
        loss = torch.stack(sentence).mean()
        history.append((float(loss), float(torch.stack(short).mean()) if short else math.nan))
        if short:
            loss = loss + 0.5 * torch.stack(short).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 24:
            means = np.nanmean(history[-25:], axis=0)
            say(f"step {step + 1} of {n_steps}: {means[0]:.3f}, {means[1]:.3f}; {time.monotonic() - started:.0f} s")
    return model


def _drawn(example: Example, draw: random.Random) -> list[Read]:
    """One passage that answers, if any, and one or two that do not, the better ones more often."""
    gold = [draw.choice(example.gold)] if example.gold else []
    others = list(example.others) if example.dataset != "policyqa" else []
    n_others = min(2, len(others))
    drawn = gold + [others.pop(min(int(draw.expovariate(0.5)), len(others) - 1)) for _ in range(n_others)]
    return [_masked(read, draw) for read in drawn] if draw.random() < _MASKED else drawn


def _masked(read: Read, draw: random.Random) -> Read:
    """The same with some of the question's tokens unreadable, so that no single word decides."""
    last = read.token_ids.index(_SEP)
    ids = [_MASK if 0 < i < last and draw.random() < _MASKED_TOKENS else t for i, t in enumerate(read.token_ids)]
    return replace(read, token_ids=ids)


def _folder() -> Path:
    folder = bundled_model()
    assert folder is not None
    return folder


def say(text: str) -> None:
    print(f"{time.strftime('%X')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with squad/, selqa/, clapnq/ and policyqa/")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch", type=int, default=16, help="questions")
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning")
    parser.add_argument("--out", type=Path, help="write the adapter here")
    parser.add_argument("--write", action="store_true", help="replace rag/reader.safetensors")
    options = parser.parse_args()
    say("finding passages")
    found = read_examples(options.data)
    say(f"{len(found)} examples")
    settings = {name: getattr(options, name) for name in ("rank", "epochs", "batch", "rate")}
    model = train(found, **settings)
    note = {
        "base": DEFAULT_WEIGHTS_SHA256,
        "made_by": "python -m benchmarks.train_reader DATA --write",
        "settings": json.dumps(settings),
        "licence": "Apache-2.0",
        "data": "SQuAD 1.1 and 2.0 dev (CC BY-SA 4.0), SelQA dev and CLAPNQ dev (Apache-2.0), PolicyQA dev (MIT)",
    }
    for file in [options.out] if options.out else [OUTPUT] if options.write else []:
        model.save(file, note=note)


if __name__ == "__main__":
    main()
