"""Draw the layers that import-linter checks: from pyproject.toml to docs/architecture.svg."""

import ast
import html
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"

_WIDTH, _HEIGHT, _GAP, _MARGIN = 1120, 50, 8, 16
_STYLE = (
    "text { font: 13px system-ui, sans-serif; fill: #57606a; } "
    ".name { font-weight: 600; font-size: 15px; fill: #0d1117; } "
    "rect { fill: #f6f8fa; stroke: #8c959f; }"
)


def layers() -> list[list[str]]:
    """Return the rooms of each layer, from the top down."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (rule,) = (c for c in rules["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in rule["layers"]]


def about(room: str) -> str:
    """Return the first sentence of a room's docstring, up to where it explains itself."""
    package = ROOT / "hf_attrib" / room
    path = package / "__init__.py" if package.is_dir() else package.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(text.split("\n\n")[0].split()).replace("``", "").partition(". ")[0]
    head, _, tail = first.partition(": ")
    return (tail if head.lower() == room else head).rstrip(".:")


def drawing() -> str:
    """Return the picture: a row for each layer, which may import from those below it."""
    parts, top = [], _MARGIN
    for rooms in layers():
        width = (_WIDTH - 2 * _MARGIN - _GAP * (len(rooms) - 1)) / len(rooms)
        for i, room in enumerate(rooms):
            left = _MARGIN + i * (width + _GAP)
            said = about(room)
            most = int((width - 24) / 6.6)
            said = said if len(said) <= most else said.partition(",")[0]
            said = said if len(said) <= most else said[: most - 1].rstrip() + "…"
            parts.append(
                f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{_HEIGHT}" rx="6"/>'
                f'<text class="name" x="{left + 12:g}" y="{top + 21}">{room}</text>'
                f'<text x="{left + 12:g}" y="{top + 39}">{html.escape(said)}</text>'
            )
        top += _HEIGHT + _GAP
    height = top + _MARGIN - _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n'
        f"<title>Layers of hf_attrib: each imports from those below it</title>\n"
        f"<style>{_STYLE}</style>\n"
        f'<rect width="{_WIDTH}" height="{height}" style="fill: #ffffff; stroke: none"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
