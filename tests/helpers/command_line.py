"""What tests of the command line call it with."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from functools import partial

import hf_attrib

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
QUICK = ("--method", "integrated_gradients", "--steps", "2", "--max-new-tokens", "2")
HF_ATTRIB = [sys.executable, "-m", "hf_attrib"]
ESCAPE = "\x1b"
CAPTURED = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
WORDS = ("<s>", "</s>", "<unk>", "a", "b", "c", "d", "is")


def saved(run, path, *arguments):
    code, _, _ = run("explain", *arguments, "--json", path)
    assert code == 0
    return hf_attrib.load(path)


def in_terminal(arguments, until=None, environment=()):
    """Run in a pseudo-terminal; interrupt once ``until`` shows. Return exit code and output."""
    master, slave = pty.openpty()
    variables = {**os.environ, **dict(environment)}
    process = subprocess.Popen(
        [*HF_ATTRIB, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=variables,
        # As a terminal starts it; what a shell starts in the background ignores interrupts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    os.close(slave)
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    seen = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        seen += chunk
        if not chunk:
            break
        if until is not None and until in seen:
            process.send_signal(signal.SIGINT)
            until = None
    watchdog.cancel()
    os.close(master)
    return process.wait(), seen.decode()


def copied(folder, to):
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())


def edited(folder, to, **changes):
    copied(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **changes}))
