"""Generators: what turns a question and passages into a draft, by name."""

from __future__ import annotations

from rag.errors import UsageError
from rag.generators.base import Generator, Message, StreamingGenerator, Writer

EXTRACTIVE = "extractive"
FORMS = f"{EXTRACTIVE}, transformers:NAME-OR-PATH or openai:MODEL@URL"

__all__ = [
    "EXTRACTIVE",
    "FORMS",
    "Generator",
    "Message",
    "StreamingGenerator",
    "Writer",
    "load_generator",
    "load_writer",
]


def load_generator(name: str, *, max_sentences: int = 4) -> StreamingGenerator:
    """The generator that writes which a name stands for. A model is loaded here; a server is asked when it is needed.

    Args:
        name: `transformers:` and a model's name on the Hugging Face hub or its folder, or `openai:`, a model's name,
            `@` and the address of a server that speaks OpenAI's protocol, such as http://localhost:11434/v1.
        max_sentences: that it is asked to write, at most.

    Raises:
        UsageError: the name has another form.
        GeneratorError: the model cannot be loaded.
    """
    from rag.generators.writing import WritingGenerator

    return WritingGenerator(load_writer(name), max_sentences=max_sentences)


def load_writer(name: str) -> Writer:
    """The model of `load_generator`: several generators can share it.

    Raises:
        UsageError: the name has another form.
        GeneratorError: the model cannot be loaded.
    """
    kind, _, rest = name.partition(":")
    if kind == "transformers" and rest:
        from rag.generators.local import LocalWriter

        return LocalWriter(rest)
    model, _, url = rest.rpartition("@")
    if kind == "openai" and model and url:
        from rag.generators.server import ServerWriter

        return ServerWriter(model, url)
    shown = kind if "@" in rest else name  # an address can hold a password
    raise UsageError(f"expected a generator in the form {FORMS}; got {shown!r}")
