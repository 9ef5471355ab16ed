"""The command line: ``hf-attrib explain``, ``show``, ``compare``, and what there is to choose."""

from hf_attrib.cli.commands import app, main

__all__ = ["app", "main"]
