"""Generators: what turns a question and passages into a draft."""

from rag.generators.base import Generator

__all__ = ["Generator"]
