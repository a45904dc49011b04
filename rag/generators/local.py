"""A writer in this process: any causal or sequence-to-sequence model of transformers, by name or path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from rag.encoders.base import encodable
from rag.encoders.hub import folder_of
from rag.encoders.quiet import best_device, first_line, quiet
from rag.errors import GeneratorError, UsageError
from rag.generators.base import Message

EXAMPLE = "Qwen/Qwen2.5-0.5B-Instruct"  # what messages name: small, and of the kind that is needed
DTYPES = ("float32", "bfloat16", "float16")

# The heads that write and come trained with a model. Others are given random ones by transformers.
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "EncoderDecoderModel")
_LIMITS = (  # what configurations call the longest text that they read
    "max_position_embeddings", "n_positions", "max_encoder_position_embeddings", "max_seq_len", "seq_length",
)  # fmt: skip
_NO_LIMIT = 10**8  # tokenizers without a limit say 10**30
_UNKNOWN_LIMIT = {False: 2048, True: 512}  # by whether it is a sequence-to-sequence model
# What a model needs to write at all. How its authors sample stays out, and so do penalties for what was said before:
# an answer is meant to repeat what the passages say.
_KEPT = ("bos_token_id", "decoder_start_token_id", "forced_bos_token_id", "suppress_tokens", "begin_suppress_tokens",
         "bad_words_ids")  # fmt: skip
_HALF_CHARACTER = "\ufffd"  # what bytes decode to while their character is incomplete


class LocalWriter:
    """A model of transformers on this machine, which always takes the likeliest next token.

    It is run in a thread of its own, for one text at a time: those who ask at once wait for each other. The texts of
    messages are given to it as text: no token in them that means something to the model is read as that token.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        fetch: bool = True,
        context_tokens: int | None = None,
    ) -> None:
        """Load the model: from its path or the hub's cache if it is there, else from the hub.

        Only weights in safetensors are read, and no code that comes with a model is run.

        Args:
            name: a path, or a name on the hub.
            device: of torch, e.g. 'cpu' or 'cuda'; by default the GPU where there is one.
            dtype: one of `DTYPES`; by default what the weights were saved in on a GPU, float32 elsewhere.
            fetch: whether a model that is not on this machine may be fetched from the hub.
            context_tokens: that prompt and answer may have together, or the prompt alone where an encoder reads it; by
                default what the model's files say.

        Raises:
            UsageError: another dtype, or a context below 1 token.
            GeneratorError: the model is neither here nor to be had, cannot be loaded, or does not write.
        """
        if dtype is not None and dtype not in DTYPES:
            raise UsageError(f"expected a dtype among {', '.join(DTYPES)}; got {dtype!r}")
        if context_tokens is not None and context_tokens < 1:
            raise UsageError(f"expected a context of 1 token or more, got {context_tokens!r}")
        folder = folder_of("model", name, fetch=fetch, error=GeneratorError)
        self.name = f"transformers:{folder if Path(name).is_dir() else name}"  # as it is found from any directory
        try:
            # Its files are here by now: nothing is asked of the hub, whatever they name.
            with quiet():
                self._model, self._tokenizer, missing = _load(folder, name=name, device=device, dtype=dtype)
        except GeneratorError:
            raise
        except Exception as exc:  # it raises whatever its backends raise: OSError, ValueError, AssertionError
            hint = "check the name or path" + (f", and the device {device!r}" if device is not None else "")
            raise GeneratorError(f"cannot load the model {name!r}: {first_line(exc)}; {hint}") from exc
        if missing:
            raise GeneratorError(
                f"expected all weights of the model {name!r}, but {len(missing)} are not in its files, such as "
                f"{missing[0]!r}: it would write at random; name another, such as {EXAMPLE!r}"
            )
        self._has_encoder = bool(self._model.config.is_encoder_decoder)
        self._settings, self._ends = _settings(self._model, self._tokenizer)
        self._lock = Lock()
        self.context_tokens = context_tokens or _context_tokens(self._model.config, self._tokenizer)
        self.control_tokens: Sequence[str]
        self.control_tokens, self._control_ids = _control(self._tokenizer)
        self._ids([Message("system", "a"), Message("user", "b")])  # a chat template that cannot be used is told now

    def room(self, max_tokens: int) -> int:
        # Of a short context at most half is kept for the answer.
        return self.context_tokens - (0 if self._has_encoder else min(max_tokens, self.context_tokens // 2))

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(self._ids(messages))

    def write(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        """As `Writer.write`: fewer tokens where the context has no room for more. Once closed, it soon stops.

        Raises:
            UsageError: `max_tokens` below 1.
            GeneratorError: the prompt is too long, or the model failed.
        """
        if max_tokens < 1:
            raise UsageError(f"expected max_tokens of 1 or more, got {max_tokens!r}")
        ids = self._ids(messages)
        longest = self.context_tokens - (0 if self._has_encoder else 1)
        if len(ids) > longest:
            raise GeneratorError(
                f"expected a prompt of at most {longest} tokens for the model {self.name!r}, got {len(ids)}: "
                "give it fewer or shorter passages, or name a model with a longer context"
            )
        room = self.context_tokens - (0 if self._has_encoder else len(ids))
        return self._written(ids, n_tokens=min(max_tokens, room))

    def _written(self, ids: list[int], *, n_tokens: int) -> Iterator[str]:
        tokens = _Tokens()
        # Joined below, and no daemon: Python must not end while torch is at work.
        thread = Thread(target=self._generate, args=(ids, n_tokens, tokens), name=f"rag-writer {self.name}")
        thread.start()
        try:
            yield from self._decoded(tokens)
        finally:
            tokens.is_closed.set()
            thread.join()

    def _generate(self, ids: list[int], n_tokens: int, tokens: _Tokens) -> None:
        import torch

        try:
            with self._lock:
                given = torch.tensor([ids], device=self._model.device)
                self._model.generate(
                    given,
                    attention_mask=torch.ones_like(given),
                    generation_config=type(self._model.generation_config)(**self._settings, max_new_tokens=n_tokens),
                    streamer=tokens,
                )
        except _ClosedError:
            pass
        except Exception as exc:  # out of memory, and whatever else its backends raise
            tokens.queue.put(exc)
        finally:
            tokens.queue.put(None)

    def _decoded(self, tokens: _Tokens) -> Iterator[str]:
        """The text of the tokens. All of it is decoded each time, as what a token says depends on those before it."""
        ids, said = list[int](), ""
        while (token := tokens.queue.get()) is not None:
            if isinstance(token, Exception):
                raise GeneratorError(
                    f"the model {self.name!r} failed: {first_line(token)}; "
                    "name a smaller one, or load it on another device or in another dtype"
                ) from token
            if token in self._ends:
                continue
            ids.append(token)
            text = self._text(ids)
            if len(text) > len(said) and text.startswith(said) and not text.endswith(_HALF_CHARACTER):
                yield text[len(said) :]
                said = text
        text = self._text(ids).rstrip(_HALF_CHARACTER)
        if len(text) > len(said) and text.startswith(said):
            yield text[len(said) :]

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        """What the model is given. Its control tokens are those of the template, whatever the messages hold.

        `rag.generators.prompts` has broken up the model's tokens already, so that the first way is nearly always taken:
        the others are for texts that come unbroken, or become a token only as the tokenizer normalises them.
        """
        parts = self._template(messages)
        allowed = self._control_of(self._encoded("".join(parts)))
        ways: list[Callable[[str], str]] = [str, self._broken_up, self._spaced_out]
        for way in ways:
            contents = {_mark(i): way(encodable(message.content).strip()) for i, message in enumerate(messages)}
            ids = self._encoded("".join(contents.get(part, part) for part in parts))
            if self._control_of(ids) == allowed:
                return ids
        raise GeneratorError(
            f"expected a prompt without control tokens of the model {self.name!r}, and it stays one however it is "
            "written: leave the passages with such tokens out, or name another model"
        )

    def _template(self, messages: Sequence[Message]) -> list[str]:
        """The prompt with marks in place of the contents, cut at the marks: a template cannot act on what is said."""
        marks = [_mark(i) for i in range(len(messages))]
        together = "\n\n".join(marks)
        if not self._tokenizer.chat_template:
            return _cut(together if self._has_encoder else f"{together}\n\nAnswer:")
        # Some templates refuse a system role or leave it out, and take one user's turn only.
        turns = [{"role": message.role, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        problem: Exception | None = None
        for conversation in (turns, [{"role": "user", "content": together}]):
            try:
                prompt = self._tokenizer.apply_chat_template(
                    conversation, tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
            except Exception as exc:  # whatever Jinja and the template raise
                problem = exc
                continue
            if prompt.rstrip().endswith("<think>"):  # it would think for longer than an answer takes
                prompt = f"{prompt.rstrip()}\n\n</think>\n\n"
            parts = _cut(prompt)
            if sorted(parts[1::2]) == sorted(marks):
                return parts
        reason = f" ({first_line(problem)})" if problem else ""
        raise GeneratorError(
            f"expected a chat template that takes what a user says; that of the model {self.name!r} does not{reason}: "
            f"name another, such as {EXAMPLE!r}"
        ) from problem

    def _encoded(self, text: str) -> list[int]:
        # A chat template writes the tokens around the prompt itself.
        is_bare = not self._tokenizer.chat_template
        return list(self._tokenizer(text, add_special_tokens=is_bare, verbose=False)["input_ids"])

    def _control_of(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token in self._control_ids]

    def _broken_up(self, text: str) -> str:
        for token in self.control_tokens:
            text = text.replace(token, " ".join(token))
        return text

    def _spaced_out(self, text: str) -> str:
        return re.sub(r"([^\w\s])", r" \1 ", self._broken_up(text))


class _ClosedError(Exception):
    """Nobody reads any more."""


class _Tokens:
    """Where a model leaves its tokens, in its thread, for the one who reads them. What `generate` calls a streamer."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[int | Exception | None] = SimpleQueue()  # the last is None, behind any error
        self.is_closed = Event()
        self._has_begun = False

    def put(self, ids: Any) -> None:
        if self.is_closed.is_set():
            raise _ClosedError
        if self._has_begun:
            for token in ids.flatten().tolist():
                self.queue.put(token)
        self._has_begun = True  # the first is the prompt

    def end(self) -> None:
        pass


def _load(folder: Path, *, name: str, device: str | None, dtype: str | None) -> tuple[Any, Any, list[str]]:
    """The model, its tokenizer, and the names of weights that its files do not hold."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    local: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(str(folder), **local)
    architecture = (getattr(config, "architectures", None) or [""])[0]
    if not architecture.endswith(_WRITERS):
        raise GeneratorError(
            f"expected a model that writes, whose architecture ends with {', '.join(_WRITERS[:-1])} or {_WRITERS[-1]}; "
            f"that of {name!r} is {architecture or 'not said'}: name another, such as {EXAMPLE!r}"
        )
    if not any(folder.glob("*.safetensors")):
        raise GeneratorError(
            f"expected weights in safetensors, which hold numbers and no code; {name!r} has none: "
            f"convert what it has, or name another model, such as {EXAMPLE!r}"
        )
    place = torch.device(device or best_device())
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model, info = kind.from_pretrained(
        str(folder),
        dtype=dtype or ("float32" if place.type == "cpu" else "auto"),
        use_safetensors=True,
        output_loading_info=True,
        **local,
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **local)
    return model.to(place).eval(), tokenizer, sorted(info["missing_keys"])


def _settings(model: Any, tokenizer: Any) -> tuple[dict[str, Any], frozenset[int]]:
    """How it writes, and the tokens that it ends with: models name them in one place, in another, or in part."""
    said = model.generation_config
    named = (said.eos_token_id, getattr(model.config, "eos_token_id", None), tokenizer.eos_token_id)
    ends = frozenset(
        token for some in named for token in (some if isinstance(some, list) else [some]) if token is not None
    )
    kept = {key: getattr(said, key, None) for key in _KEPT}
    padding = next((i for i in (said.pad_token_id, tokenizer.pad_token_id, *sorted(ends)) if i is not None), 0)
    settings = {
        **{key: value for key, value in kept.items() if value is not None},
        "eos_token_id": sorted(ends) or None,
        "pad_token_id": padding,
        "do_sample": False,
        "num_beams": 1,
        "use_cache": True,
    }
    model.generation_config = type(said)(**settings)  # else what is left out here is taken from there
    return settings, ends


def _context_tokens(config: Any, tokenizer: Any) -> int:
    described = [config, config.get_text_config()]  # models of more than text describe each part
    said = [getattr(part, limit, None) for part in described for limit in _LIMITS] + [tokenizer.model_max_length]
    limits = [int(limit) for limit in said if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT]
    return min(limits, default=_UNKNOWN_LIMIT[bool(config.is_encoder_decoder)])


def _control(tokenizer: Any) -> tuple[tuple[str, ...], frozenset[int]]:
    """The special and added tokens, the longest first, and the ids that no text of a message may have.

    Added ones of white space or of a single character are text. So is the unknown token: it tells the model nothing.
    """
    added = {
        token: int(i) for token, i in tokenizer.get_added_vocab().items() if len(token) > 1 and token.strip(" \t\r\n▁")
    }
    tokens = sorted({*tokenizer.all_special_tokens, *added}, key=lambda token: (-len(token), token))
    ids = {*tokenizer.all_special_ids, *added.values()} - {tokenizer.unk_token_id}
    return tuple(tokens), frozenset(ids)


def _mark(number: int) -> str:
    """A word that stands for the content of a message while a template is filled in, and which no template holds."""
    return f"Content{number}OfMessage"


def _cut(prompt: str) -> list[str]:
    """The prompt in parts; every second one is a mark, or what a template made of it."""
    return re.split(r"(Content\d+OfMessage)", prompt, flags=re.IGNORECASE)
