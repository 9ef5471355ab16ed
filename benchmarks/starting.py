"""How long a newcomer waits: seconds of imports, and of README's first command once installed.

    python benchmarks/starting.py

Each is a process of its own. Imports take turns, and the median of CPU seconds counts; the command
is timed on the wall.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import machine

HERE = Path(__file__).parent
ROUNDS = 7
IMPORTS = {
    "torch and transformers": "import torch, transformers",
    "hf_attrib": "import hf_attrib",
    "hf_attrib, with what explains": "import hf_attrib; hf_attrib.Explainer",
    "torch and transformers, with what loads a model": (
        "import torch; from transformers import AutoModelForCausalLM, AutoTokenizer"
    ),
}
TIMED = "import time; started = time.process_time(); {}; print(time.process_time() - started)"


def imports() -> dict[str, float]:
    """Return the median of CPU seconds of each import."""
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(ROUNDS):
        for name, code in IMPORTS.items():
            command = [sys.executable, "-c", TIMED.format(code)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(float(done.stdout))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def first_command() -> tuple[str, list[float]]:
    """Return README's first command, less what installs, and seconds on the wall of each run."""
    written = (HERE.parent / "README.md").read_text(encoding="utf-8")
    marked = re.search(r"<!-- install and explain -->\n```bash\n.* && (.*)\n```", written)
    assert marked, "README has no first command"
    command, seconds = marked[1], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(["bash", "-c", command], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return command, seconds


def table(report: dict) -> str:
    """Write both."""
    lines = [
        f"Median of {ROUNDS} processes each, {report['machine']['processor']}.",
        "",
        "| import | CPU seconds |",
        "|---|--:|",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in report["imports"].items()),
        "",
        f"`{report['command']}`",
        "",
        f"takes {report['seconds'][0]:.1f} s on the wall when it is first called, "
        f"{statistics.median(report['seconds']):.1f} s in the median.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and keep."""
    command, seconds = first_command()
    report = {"machine": machine(1), "imports": imports(), "command": command, "seconds": seconds}
    stem = HERE / "results" / "starting"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    stem.with_suffix(".md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
