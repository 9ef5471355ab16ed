"""The command line: ``explain``, ``robustness``, ``show``, ``compare``, and what to choose from."""

from hf_attrib.cli.commands import app, main

__all__ = ["app", "main"]
