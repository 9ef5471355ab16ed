"""The program ``hf-attrib``: which commands there are, and how it ends.

What a command does is in :mod:`hf_attrib.cli.commands`. That module imports torch and transformers,
which takes seconds, so it is loaded when a command is named: the pages about the program itself,
its version and its complaint about a misspelt command come at once.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperCommand

from hf_attrib.cli.streams import PLAINER, complain, is_main, put
from hf_attrib.errors import HFAttribError

__all__ = ["app", "main"]

#: The commands, in the order of the help page: functions of `hf_attrib.cli.commands`.
_COMMANDS = {
    "explain": "Generate an answer to a prompt and show what each token of it came from.",
    "rag": "Answer from documents and show which of them each sentence of the answer used.",
    "robustness": "Find out how little an attack has to move a prompt to change each token of the "
    "answer.",
    "evaluate": "Judge methods on a file of prompts: how well they predict what the model does.",
    "dataset": "Explain all rows of a data set into a folder; go on where a run has ended.",
    "show": "Show a saved result.",
    "compare": "Show two saved results side by side, and how well they agree.",
    "methods": "List the attribution methods.",
    "attacks": "List the attacks: rules that say where a method's path goes.",
    "models": "List the embedded models.",
}

_EXAMPLE = (
    "Example: hf-attrib {} \"Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:\""
)
#: What stands below the options of a command.
_EPILOGS = {name: _EXAMPLE.format(name) for name in ("explain", "robustness")} | {
    "rag": 'Example: hf-attrib rag --question "What color is Bob\'s key?" --document a.txt '
    "--document 'notes/*.md'"
}

_SETTINGS: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": "rich",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(**_SETTINGS)  # with --install-completion, which belongs to the program alone

#: Typer's base class of usage errors, which has moved between its versions, and click's.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

#: Seconds that the first process has to complain: launchers end all when one has failed.
_GRACE = 2.0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 2 for bad input, 130 if interrupted.

    Args:
        arguments: the words after the program's name; by default those it was called with.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAINER)  # not every terminal knows every character
    code: Any = 2
    try:
        # Its name does not depend on the path that it was called by, an extension's for one.
        code = app(arguments, prog_name="hf-attrib", standalone_mode=False)
    except _UsageError as error:
        complain(error.format_message())
    except HFAttribError as error:
        complain(str(error))
    except typer.Abort:
        code = 130
    if code and not is_main():
        time.sleep(_GRACE)
    sys.exit(code or 0)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", metavar="", help="Print the version."),
) -> None:
    """Explain which input tokens made a language model generate each output token."""
    if version:
        from hf_attrib import __version__

        put(f"hf-attrib {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        put(context.get_help() + "\n")


class _Deferred(TyperCommand):
    """A command that is a name and one line of help until it is called."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Load the command, and let it read its words: the context belongs to it from then on."""
        return _loaded(str(self.name)).make_context(info_name, args, parent, **extra)


def _loaded(name: str) -> Any:
    from hf_attrib.cli import commands

    program = typer.Typer(add_completion=False, **_SETTINGS)
    program.command(name, help=_COMMANDS[name], epilog=_EPILOGS.get(name))(getattr(commands, name))
    return typer.main.get_command(program)


for _name, _help in _COMMANDS.items():
    app.command(_name, help=_help, cls=_Deferred)(lambda: None)
