"""Small changes to a model's weights, kept beside it: a few MB make another model of the one that is there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FACTORS = (".a", ".b")  # behind the key of a matrix


@dataclass(frozen=True, slots=True)
class Adapter:
    """A file of low-rank products to add to matrices, vectors to put in the place of others, and heads.

    A matrix W becomes W + b a (Hu et al. 2021, arXiv:2106.09685), with `a` of shape (rank, in) and `b` of (out, rank).
    """

    file: Path
    sha256: str
    base_sha256: str  # of the weights that it changes
    heads: Mapping[str, NDArray[np.float32]]  # what is computed of the last layer's tokens, by name

    @classmethod
    def read(cls, file: Path) -> Adapter:
        """Read what an adapter says of itself, and its heads.

        Raises:
            EncoderError: the file is missing or broken.
        """
        from safetensors import SafetensorError, safe_open

        try:
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            with safe_open(file, "np") as tensors:
                base = (tensors.metadata() or {})["base"]
                names = [key for key in tensors.keys() if key.startswith("heads.")]  # noqa: SIM118 - it is no mapping
                heads = {name.removeprefix("heads."): tensors.get_tensor(name).astype(np.float32) for name in names}
        except (OSError, KeyError, SafetensorError) as exc:
            raise EncoderError(f"cannot read the adapter {str(file)!r} ({exc}): install the package again") from exc
        return cls(file, sha256, base, heads)

    def applied(self, weights: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The weights as they are with the changes.

        Args:
            weights: by key, without the architecture's prefix.

        Raises:
            EncoderError: they are not those that it changes.
        """
        from safetensors.numpy import load_file

        changes = load_file(self.file)
        changed = dict(weights)
        try:
            for key, value in changes.items():
                if key.endswith(_FACTORS[1]):
                    matrix = key.removesuffix(_FACTORS[1])
                    a, b = changes[matrix + _FACTORS[0]].astype(np.float32), value.astype(np.float32)
                    changed[matrix] = weights[matrix] + b @ a
                elif not key.endswith(_FACTORS[0]) and not key.startswith("heads."):
                    changed[key] = value.astype(np.float32).reshape(weights[key].shape)
        except (KeyError, ValueError) as exc:
            raise EncoderError(f"the adapter {str(self.file)!r} is not of this model: {exc}") from exc
        return changed
