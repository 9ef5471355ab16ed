"""The command line: explain, rag, robustness, evaluate, show, compare and the lists."""

from hf_attrib.cli.program import app, main

__all__ = ["app", "main"]
