"""What may be done with a model: licence, author and tags, kept beside it; who to credit, in one table."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from engine.core.errors import InputError
from engine.core.files import read_object, write_whole
from engine.core.tables import cell, csv_bytes

LICENCES = {
    "cc0": ("CC0 Public Domain", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "by": ("CC Attribution", "https://creativecommons.org/licenses/by/4.0/"),
    "by-sa": ("CC Attribution-ShareAlike", "https://creativecommons.org/licenses/by-sa/4.0/"),
    "by-nd": ("CC Attribution-NoDerivs", "https://creativecommons.org/licenses/by-nd/4.0/"),
    "by-nc": ("CC Attribution-NonCommercial", "https://creativecommons.org/licenses/by-nc/4.0/"),
    "by-nc-sa": ("CC Attribution-NonCommercial-ShareAlike", "https://creativecommons.org/licenses/by-nc-sa/4.0/"),
    "by-nc-nd": ("CC Attribution-NonCommercial-NoDerivs", "https://creativecommons.org/licenses/by-nc-nd/4.0/"),
    "free-st": ("Free Standard", "https://sketchfab.com/licenses"),
    "st": ("Standard", "https://sketchfab.com/licenses"),
    "ed": ("Editorial", "https://sketchfab.com/licenses"),
}
"""Licences by the short name that Sketchfab gives them, with their names and texts."""

DEFAULT_LICENCES = ("cc0", "by", "by-sa")
_NO_AI = re.compile(r"no(gen(erative)?)?ai(training|dataset|use)?")
_BY_AI = re.compile(r"(created|made|generated)(with|by)(gen(erative)?)?ai|(gen(erative)?)?aigenerated")


class Skipped(Exception):
    """Raised for a page whose model is left out on purpose; `kind` is one of `engine.crawling.Skip`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Rights:
    """What a page says of its model."""

    title: str = ""
    author: str = ""
    author_url: str = ""
    licence: str = ""
    """Short name, a key of `LICENCES`; empty if the page states none, as it is if the name is unknown."""
    licence_url: str = ""
    tags: tuple[str, ...] = ()
    source_url: str = ""
    published: str = ""
    """Date of publication, as the page states it."""
    downloadable: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    """What else is worth keeping: number of faces and the like."""

    @property
    def no_ai(self) -> bool:
        """Whether a tag forbids the use in data sets of generative AI."""
        return self._tagged(_NO_AI)

    @property
    def created_with_ai(self) -> bool:
        """Whether a tag says that generative AI has made it, as Sketchfab's CreatedWithAI does."""
        return self._tagged(_BY_AI)

    def _tagged(self, like: re.Pattern[str]) -> bool:
        return any(like.fullmatch(re.sub(r"[^a-z]", "", tag.lower())) for tag in self.tags)


def licence_key(text: str) -> str:
    """Short name of a licence, whichever way it is written (`CC BY-SA 4.0`, `CC Attribution-ShareAlike`, `by-sa`)."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    for key, (name, _) in LICENCES.items():
        if plain in (key, re.sub(r"[^a-z0-9]+", "-", name.lower())):
            return key
    short = re.sub(r"-\d+(-\d+)?$", "", plain.removeprefix("cc-").removeprefix("creative-commons-"))
    short = short.replace("attribution", "by").replace("noncommercial", "nc").replace("non-commercial", "nc")
    short = re.sub("no-?deriv(ative)?s", "nd", short.replace("sharealike", "sa").replace("share-alike", "sa"))
    if short in ("0", "zero", "cc0") or plain.startswith("cc0"):
        return "cc0"
    return short if short in LICENCES else plain


def parse_licences(text: str) -> tuple[str, ...]:
    """Short names from `cc0,by,by-sa`; `any` gives none, which excludes nothing. InputError names what is unknown."""
    if text.strip().lower() == "any":
        return ()
    keys = tuple(dict.fromkeys(licence_key(part) for part in text.split(",") if part.strip()))
    unknown = [key for key in keys if key not in LICENCES]
    if unknown or not keys:
        raise InputError(
            f"The licence {', '.join(unknown) or repr(text)} is not known. Choose from {', '.join(LICENCES)}, or any."
        )
    return keys


@dataclass(frozen=True)
class Policy:
    """Which models are collected."""

    licences: tuple[str, ...] = DEFAULT_LICENCES
    """Short names of those allowed; empty allows all, also models without a stated licence."""
    created_with_ai: bool = False
    """Whether models are taken that are marked as made with generative AI."""

    def described(self) -> dict[str, Any]:
        """As it is kept in the settings of a crawl."""
        return {"licences": ",".join(self.licences) or "any", "created_with_ai": self.created_with_ai}

    def check(self, rights: Rights) -> None:
        """Raise `Skipped` for a model that must, or shall, not be collected. No option allows a NoAI model."""
        if rights.no_ai:
            raise Skipped("noai", "its author forbids the use for generative AI (tagged NoAI)")
        if not rights.downloadable:
            raise Skipped("not-downloadable", "its author does not offer it for download")
        if rights.created_with_ai and not self.created_with_ai:
            raise Skipped("created-with-ai", "it was made with generative AI (tagged CreatedWithAI)")
        if self.licences and rights.licence not in self.licences:
            name = LICENCES.get(rights.licence, (rights.licence or "no stated licence", ""))[0]
            raise Skipped("licence", f"its licence ({name}) is not among those asked for: {', '.join(self.licences)}")


# -- what a page states ---------------------------------------------------------------------------------------


def tags_of(found: Iterable[Any]) -> tuple[str, ...]:
    """Names of tags, which come as words or as objects with a name."""
    names = (tag.get("name") or tag.get("slug") if isinstance(tag, dict) else tag for tag in found)
    return tuple(str(name) for name in names if name)


def forbids_ai(meta: Mapping[str, str]) -> bool:
    """Whether the `<meta>` tags of a page (names in small letters), or its `X-Robots-Tag`, forbid the use for AI."""
    told = {word for name in ("robots", "x-robots-tag") for word in re.split(r"[\s,:;]+", meta.get(name, "").lower())}
    return not told.isdisjoint(("noai", "noimageai")) or "noai" in meta


def meta_of(text: str) -> dict[str, str]:
    """What the `<meta>` tags of an HTML page say, by their names; those of one name together."""
    found = _Meta()
    found.feed(text)
    return found.told


class _Meta(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        name = (values.get("name") or values.get("property") or "").strip().lower()
        if tag == "meta" and name:
            before = self.told.get(name)
            said = values.get("content", "")
            self.told[name] = said if before is None else f"{before}, {said}"


# -- beside the models ---------------------------------------------------------------------------------------


def write_rights(path: Path, rights: Rights, facts: dict[str, Any]) -> None:
    """Write `<uid>.json`: the rights, then facts of the file."""
    name, text = LICENCES.get(rights.licence, (rights.licence, ""))
    stated = dataclasses.asdict(rights)
    stated |= {"licence_name": name, "licence_url": rights.licence_url or text}
    stated["created_with_ai"] = rights.created_with_ai
    write_whole(path, json.dumps(stated | facts, indent=1, ensure_ascii=False).encode())


def read_rights(path: Path) -> dict[str, Any] | None:
    """What stands in a `<uid>.json`; None if it is missing or damaged."""
    return read_object(path)


def collected(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The models of a folder whose rights are known, in the order of their names."""
    for path in sorted(folder.glob("*.glb")):
        found = read_rights(path.with_suffix(".json"))
        if found is not None:
            yield path, found


def write_credits(folder: Path, path: Path | None = None) -> int:
    """Write `CREDITS.csv`: for each model what its licence asks to be named; returns the number of models."""
    columns = ("file", "title", "author", "author_url", "licence", "licence_url", "source_url", "collected", "credit")
    rows: list[Iterable[str]] = [columns]
    for model, found in collected(folder):
        line = {key: cell(found.get(key, "")) for key in columns}
        line |= {"file": model.name, "licence": cell(found.get("licence_name", "")), "credit": _credit(found)}
        rows.append(line.values())
    write_whole(path or folder / "CREDITS.csv", csv_bytes(rows))
    return len(rows) - 1


def tally(folder: Path) -> dict[str, int]:
    """Number of models of a folder by licence."""
    counts: dict[str, int] = {}
    for _, found in collected(folder):
        counts[found.get("licence", "")] = counts.get(found.get("licence", ""), 0) + 1
    return dict(sorted(counts.items()))


def _credit(found: dict[str, Any]) -> str:
    title, author = found.get("title") or "Untitled", found.get("author") or "an unnamed author"
    licence = " ".join(part for part in (found.get("licence_name"), found.get("licence_url")) if part)
    return cell(f'"{title}" by {author}, {found.get("source_url", "")}, {licence or "no stated licence"}')
