"""What is screened: a list of pages or of files, a folder of models, or what a crawl has collected."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.core.errors import InputError
from engine.crawling.lists import BadLine, Page, parse_page, uncommented
from engine.crawling.rights import read_rights

MODEL_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".dae", ".fbx")
"""Names of files that are taken for models."""
_MODELS = re.compile(r"#\s*models:\s*(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One model to judge."""

    key: str
    """What tells it from the others, however its line is written; the same on every annotator's machine."""
    line: str
    """What is recorded of it: the address of its page, or the path of its file, as the list has it."""
    path: Path | None = None
    """Its file, which may be missing; None for one that is only a page."""
    url: str = ""
    """Address of its page, if it has one."""


@dataclass
class ItemList:
    """What a list or folder holds: each item once, in its order."""

    items: list[Item] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    duplicates: int = 0
    models: Path | None = None
    """The folder that relative paths count from and that pages' models lie in, if there is one."""


def read_items(source: Path) -> ItemList:
    """Read a list, a folder of models, a crawl's folder or a single model; InputError if there is nothing in it.

    A list has one address or path a line. Relative paths count from the list's folder. A line `# models: FOLDER`
    names a folder in which the paths are sought too, and the models of the pages, as a crawl has named them.
    """
    if source.is_dir():
        found = _read_folder(source)
        if not found.items:
            raise InputError(
                f"There is no model in the folder {source}. Name a folder with files such as .glb, or a list of pages."
            )
        return found
    if source.suffix.lower() in MODEL_SUFFIXES and source.is_file():
        return ItemList([Item(source.name, source.name, source)], models=source.parent)
    try:
        text = source.read_bytes()
    except OSError as error:
        raise InputError(f"The list {source} cannot be read: {error.strerror or error}. Check the path.") from error
    utf16 = text.startswith((b"\xff\xfe", b"\xfe\xff"))
    lines = (text.decode("utf-16", "replace") if utf16 else decode(text)).splitlines()
    found = parse_items(lines, source.parent)
    if not found.items:
        first = f" The first bad line: {found.bad[0]}." if found.bad else ""
        raise InputError(f"The list {source} names no page and no file.{first} Write one address or path a line.")
    return found


def parse_items(lines: Iterable[str], folder: Path, models: Path | None = None) -> ItemList:
    """Read the lines of a list that lies in `folder`; bad ones are named."""
    found = ItemList(models=models)
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if named := _MODELS.fullmatch(line.strip()):
            found.models = Path(folder, named[1].strip())
        item = parse_item(line)
        if item is None:
            continue
        if isinstance(item, str):
            found.bad.append(BadLine(number, line.strip(), item))
        elif item.key in seen:
            found.duplicates += 1
        else:
            seen.add(item.key)
            found.items.append(item)
    places = [folder] if found.models is None else [folder, found.models]
    found.items = [_located(item, places) for item in found.items]
    return found


def parse_item(line: str) -> Item | str | None:
    """The item that a line names, with its path not yet looked up; what is wrong with it; None for no item at all."""
    text = line.strip()
    if "://" not in text and not text.startswith("#") and Path(text).suffix.lower() in MODEL_SUFFIXES:
        return _file(text)  # before comments are cut off: names of files may hold a `#`
    text = uncommented(text)
    if not text:
        return None
    if "://" not in text and Path(text).suffix.lower() in MODEL_SUFFIXES:
        return _file(text)
    page = parse_page(text)
    if isinstance(page, Page):
        return Item(page.key, text, url=page.url)
    kinds = "" if "://" in text else f", nor a file of a known kind ({', '.join(MODEL_SUFFIXES)})"
    return f"{page}{kinds}"


def anywhere(item: Item) -> Item:
    """The item as a list in any folder may name it."""
    return item if item.path is None else replace(item, line=str(item.path.resolve()))


def decode(text: bytes) -> str:
    """Text of a list; names of files that are not UTF-8 come through unharmed."""
    return text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The reverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


def _file(text: str) -> Item:
    text = text.strip("\"'")
    key = posixpath.normpath(text.replace("\\", "/"))
    return Item(key, text, Path(text))


def _located(item: Item, places: list[Path]) -> Item:
    if item.path is not None:
        candidates = [place / item.key for place in places]
        return Item(item.key, item.line, next((c for c in candidates if c.exists()), candidates[0]))
    for place in places[1:]:
        if (path := place / f"{item.key}.glb").is_file():
            return Item(item.key, item.line, path, item.url)
    return item


def _read_folder(folder: Path) -> ItemList:
    found = ItemList(models=folder)
    seen: set[str] = set()
    paths = (p for p in folder.rglob("*") if p.suffix.lower() in MODEL_SUFFIXES and p.is_file())
    for path in sorted(paths):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")):
            continue  # what a crawl or an editor has not finished
        if len(name.splitlines()) > 1:
            found.bad.append(BadLine(len(seen) + 1, name, "has a line break in its name: rename the file"))
            continue
        rights = read_rights(path.with_suffix(".json")) or {}
        page = parse_page(str(rights.get("source_url") or ""))
        item = Item(page.key, page.url, path, page.url) if isinstance(page, Page) else Item(name, name, path)
        if item.key in seen:
            found.duplicates += 1
        else:
            seen.add(item.key)
            found.items.append(item)
    return found
