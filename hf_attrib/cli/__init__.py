"""The command line: ``hf-attrib explain``, ``show``, ``compare``, ``methods`` and ``models``."""

from hf_attrib.cli.commands import app, main

__all__ = ["app", "main"]
