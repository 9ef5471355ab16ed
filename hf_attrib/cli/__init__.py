"""The command line: ``hf-attrib explain``, ``robustness``, ``show``, ``compare`` and the lists."""

from hf_attrib.cli.commands import app, main

__all__ = ["app", "main"]
