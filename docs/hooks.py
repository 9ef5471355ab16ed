"""What GitHub does by itself and a site does not: a start page, files beside docs/, formulas."""

import html
import os
import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert
from make import markdown
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent

_LINK = re.compile(r"(\]\(|src=\")(?![a-z]+:|#)([^)#\"\s]+)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([([])(.*?)\\[)\]]</\1>', re.S)
_EXAMPLE = re.compile(r"^(>>> .+(?:\n.+)*)", re.M)
_LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>")


def on_files(files: Any, config: Any) -> Any:
    """Add the README as the start page, and each file of the repository that a page links to."""
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    todo, seen = ["README.md", *pages], set(pages)
    while todo:
        path = todo.pop()
        if path not in seen and not path.startswith("docs/"):
            files.append(File.generated(config, _place(path), content=_shown(path)))
        seen.add(path)
        if path.endswith(".md"):
            todo += {target for target in _targets(path) if target not in seen}
    return files


def on_page_markdown(text: str, page: Any, **_: Any) -> str:
    """Point links to where the site has what they lead to in the repository."""
    here = page.file.src_uri
    path = _path(here)

    def moved(match: re.Match[str]) -> str:
        place = _place(_resolved(path, match[2]))
        return match[1] + posixpath.relpath(place, posixpath.dirname(here))

    return _LINK.sub(moved, text)


def on_page_content(content: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers draw without a script."""

    def drawn(match: re.Match[str]) -> str:
        display = "inline" if match[2] == "(" else "block"
        return convert(html.unescape(match[3]).strip(), display=display)

    return _FORMULA.sub(drawn, content)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would load anything from elsewhere."""
    if found := _LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output


class Docstrings(griffe.Extension):
    """Docstrings have the marks of Sphinx and bare examples; pages have those of Markdown."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the marks of one docstring."""
        if obj.docstring:
            text = markdown(obj.docstring.value)
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\1\n```", text)


def _resolved(path: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def _targets(path: str) -> list[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return [_resolved(path, match[2]) for match in _LINK.finditer(text)]


def _place(path: str) -> str:
    """Return where the site has a file of the repository."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def _path(place: str) -> str:
    """Return which file of the repository a place of the site has."""
    if place == "index.md":
        return "README.md"
    inner = place.removeprefix("repository/")
    if inner == place:
        return f"docs/{place}"
    return inner if (ROOT / inner).is_file() else inner.removesuffix(".md")


def _shown(path: str) -> str:
    """Return a file as a page, a folder as a list of its files."""
    if (ROOT / path).is_dir():
        names = sorted(name for name in os.listdir(ROOT / path) if (ROOT / path / name).is_file())
        return "\n".join([f"# {path}\n", *(f"- `{name}`" for name in names)])
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n``````{Path(path).suffix[1:]}\n{text}\n``````\n"
