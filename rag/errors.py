"""One exception tree. Every message says what was expected, what came, and what to do next.

RagError
├── UsageError               an argument that cannot work (empty question, unknown mode, k below 1)
├── LoadError                one file cannot be read as a document; a batch sets it aside and goes on
├── EncoderError             a model cannot be found, loaded or run
├── RerankerError            a reranker cannot be found, loaded or run
├── GeneratorError           a model that writes answers cannot be found, reached or run
├── IndexNotFoundError       no index of that name
├── IndexBusyError           another process is writing to the index
├── IndexDamagedError        the folder is there, but what is in it cannot be used
├── IndexMismatchError       made by another encoder, or by a newer version of the format
└── EvaluationError          a question or judgement file is not in the form that is needed
"""


class RagError(Exception):
    """Root of everything this library raises on purpose."""


class UsageError(RagError, ValueError):
    """An argument that cannot work."""


class LoadError(RagError):
    """A file cannot be read as a document; `str(error)` is the reason shown to people."""


class EncoderError(RagError):
    """A model cannot be found, loaded or run."""


class RerankerError(RagError):
    """A reranker cannot be found, loaded or run."""


class GeneratorError(RagError):
    """A model that writes answers cannot be found, reached or run."""


class IndexNotFoundError(RagError):
    """No index of that name."""


class IndexBusyError(RagError):
    """Another process is writing to the index."""


class IndexDamagedError(RagError):
    """The index folder is there, but what is in it cannot be used."""


class IndexMismatchError(RagError):
    """The index was made by another encoder, or by a newer version of the format."""


class EvaluationError(RagError):
    """A question or judgement file is not in the form that is needed."""
