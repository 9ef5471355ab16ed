"""Programs in a process of their own, as imports of this one cannot be undone."""

import subprocess
import sys

#: What takes seconds to import.
HEAVY = ("torch", "transformers")


def loaded_after(program, *arguments):
    """Run a program and return which of the heavy packages it has imported."""
    report = f"""
import atexit, sys
atexit.register(lambda: print("loaded:", *(n for n in {HEAVY} if n in sys.modules)))
{program}
"""
    command = [sys.executable, "-c", report, *arguments]
    process = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )
    assert "Traceback" not in process.stderr, process.stderr
    return process.stdout.rpartition("loaded:")[2].split()
