"""What Sphinx reads of a page: the Markdown as it stands, its markers filled in and its links made to lead somewhere.

Markers are comments, which GitHub hides:

    <!-- README: HEADING -->     that section of README.md, so that nothing stands twice; `introduction` comes first
    <!-- options: AXIS -->       all components of an axis, from their dataclasses
    <!-- sections -->            the options of an experiment's sections that are no components
    <!-- API -->                 the public surface, from its docstrings
    <!-- decisions -->           a list of the decision records
    <!-- only on GitHub -->      the next paragraph, which says where there is more, is left out of the site
    <!-- navigation -->          the side bar, from the links of this page by heading; pages without a link come last
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from os.path import relpath
from pathlib import Path

from docs.tools import options, reference

ROOT = Path(__file__).resolve().parents[2]
HOME = "docs/index.md"
OUTSIDE = ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
"""Pages that do not stand in docs/."""
_MARKER = re.compile(r"^<!-- (README|options|sections|API|decisions|navigation)(?:: (.+))? -->$", re.MULTILINE)
_GITHUB = re.compile(r"^<!-- only on GitHub -->\n+(?:.+\n)+", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#:]+)(#[\w-]+)?\)")


class PageError(ValueError):
    """A marker or link that cannot be followed."""


def pages() -> list[str]:
    """All pages of the site, as paths below the root of the repository."""
    found = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "docs").rglob("*.md"))]
    return [f for f in found if not f.startswith("docs/site/") and f != "docs/decisions/0000-template.md"] + [*OUTSIDE]


def expand(page: str, text: str) -> str:
    """A page's text for Sphinx. `page` is its path below the root. Raises PageError."""
    makers: dict[str, Callable[[str], str]] = {
        "README": lambda heading: rebase(readme(heading), "README.md", page),
        "options": options.page,
        "sections": lambda _: options.sections_page(),
        "API": lambda _: reference.page(),
        "decisions": lambda _: _decisions(),
        "navigation": lambda _: _navigation(page, text),
    }
    text = _GITHUB.sub("", text)
    return _MARKER.sub(lambda found: makers[found[1]](found[2] or ""), rebase(text, page, page))


def readme(heading: str) -> str:
    """The text of a section of the README, without its heading. Raises PageError where there is none."""
    title, *sections = re.split(r"^## ", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    if heading == "introduction":
        return title.split("\n", 1)[1].strip("\n")
    for section in sections:
        name, body = section.split("\n", 1)
        if name.strip() == heading:
            return body.strip("\n")
    known = ", ".join(section.split("\n", 1)[0].strip() for section in sections)
    raise PageError(f"README.md has no section {heading!r}; it has {known}")


def rebase(text: str, source: str, page: str) -> str:
    """Links of `source` as `page` must write them; what the site does not have stays as words. Raises PageError."""
    known = set(pages())

    def moved(found: re.Match[str]) -> str:
        words, target, fragment = found[1], found[2], found[3] or ""
        path = (ROOT / source).parent / target
        if not path.exists():
            raise PageError(f"{source}: the link {target} leads nowhere")
        place = relpath(path.resolve(), ROOT)
        if place == "README.md":
            place, fragment = _home_of(fragment), ""
        elif path.is_dir() and f"{place}/README.md" in known:
            place = f"{place}/README.md"
        elif place not in known:
            return words if path.is_dir() else f"[{words}]({relpath(ROOT / place, (ROOT / page).parent)})"
        return f"[{words}]({relpath(ROOT / place, (ROOT / page).parent)}{fragment})"

    return _LINK.sub(moved, text)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _home_of(fragment: str) -> str:
    """The page that shows a section of the README."""
    for page in pages():
        for kind, heading in _MARKER.findall((ROOT / page).read_text(encoding="utf-8")):
            if kind == "README" and f"#{slug(heading)}" == fragment:
                return page
    return HOME


def _decisions() -> str:
    files = [Path(page) for page in pages() if page.startswith("docs/decisions/0")]
    titles = [file.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ") for file in map(ROOT.joinpath, files)]
    items = [f"- [{title}]({file.name})" for title, file in zip(titles, files, strict=True)]
    return "\n".join(items) + "\n\n" + _toctree("", [file.stem for file in files])


def _navigation(page: str, text: str) -> str:
    listed: dict[str, list[tuple[str, str]]] = {}
    seen = {page}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        for title, link in re.findall(r"^- \[([^\]]+)\]\(([^()#:]+\.md)\)", line):
            place = relpath(((ROOT / page).parent / link).resolve(), ROOT)
            seen.add(place)
            listed.setdefault(heading, []).append((title, place))
    if rest := [("", p) for p in pages() if p not in seen and not p.startswith("docs/decisions/0")]:
        listed.setdefault("More", []).extend(rest)
    here = (ROOT / page).parent
    return "\n\n".join(
        _toctree(caption, [_entry(title, relpath(ROOT / p, here).removesuffix(".md")) for title, p in places])
        for caption, places in listed.items()
    )


def _entry(title: str, place: str) -> str:
    return f"{title} <{place}>" if title else place


def _toctree(caption: str, entries: Collection[str]) -> str:
    caption = f":caption: {caption}\n" if caption else ""
    return f"```{{toctree}}\n:hidden:\n{caption}\n" + "\n".join(entries) + "\n```"
