"""What annotators decided, on disk: plain files in one folder that survive a kill at any instant.

    decisions.jsonl   the truth: everything that was done, in order, one JSON object a line
    selected.txt      one address or path a line, as the original script wrote it
    rejected.txt
    skipped.txt

A line of decisions.jsonl has `item`, `decision` (select, reject, skip; also flag, unflag, undo and moved), `who`,
`when` (UTC), `seconds`, `note`, `key`, `bytes` (of the model's file), `reasons`, `unseen` (true where the model was
not on the screen) and `origin` (the text file that a decision was taken over from, or the former key of a file that
has moved). It is on the disk before `append` returns. The text files follow it and can be rebuilt from it.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.core import ledger
from engine.core.errors import InputError, OutputError
from engine.core.files import lock_folder, sync, unwritable, whole_file, write_whole, writing
from engine.screening.items import Item, decode, encode, parse_item

LOG = "decisions.jsonl"
TEXTS = {"select": "selected.txt", "reject": "rejected.txt", "skip": "skipped.txt"}
"""The text file of each decision."""
_ACTIONS = (*TEXTS, "flag", "unflag", "undo", "moved")


@dataclass(frozen=True)
class Entry:
    """One line of decisions.jsonl."""

    key: str
    line: str
    action: str
    """`select`, `reject`, `skip`, `flag`, `unflag`, `undo` or `moved`."""
    who: str = ""
    when: str = ""
    """Time in UTC, ISO 8601; empty if unknown."""
    seconds: float | None = None
    """How long the annotator took."""
    note: str = ""
    size: int | None = None
    """Bytes of the model's file."""
    origin: str = ""
    """Text file that the decision was taken over from; former key of a file that moved."""
    reasons: tuple[str, ...] = ()
    """Why it was decided so, of the project's list."""
    unseen: bool = False
    """Whether it was decided without the model having been on the screen."""

    def to_line(self) -> bytes:
        """The line, with its end."""
        values: dict[str, Any] = {"item": self.line, "decision": self.action, "who": self.who, "when": self.when}
        values |= {"seconds": self.seconds, "note": self.note, "key": self.key}
        if self.size is not None:
            values["bytes"] = self.size
        if self.reasons:
            values["reasons"] = list(self.reasons)
        if self.unseen:
            values["unseen"] = True
        if self.origin:
            values["origin"] = self.origin
        return json.dumps(values).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Entry | None:
        """Read a line; None if it is damaged."""
        try:
            found = json.loads(line)
        except ValueError:
            return None
        if not isinstance(found, dict) or not isinstance(found.get("item"), str):
            return None
        if found.get("decision") not in _ACTIONS:
            return None
        key, seconds, size = found.get("key") or key_of(found["item"]), found.get("seconds"), found.get("bytes")
        reasons = found.get("reasons")
        if not isinstance(key, str):
            return None
        if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
            seconds = None
        return cls(
            key=key,
            line=found["item"],
            action=found["decision"],
            who=str(found.get("who") or ""),
            when=str(found.get("when") or ""),
            seconds=None if seconds is None else float(seconds),
            note=str(found.get("note") or ""),
            size=size if isinstance(size, int) else None,
            origin=str(found.get("origin") or ""),
            reasons=tuple(str(reason) for reason in reasons) if isinstance(reasons, list) else (),
            unseen=found.get("unseen") is True,
        )


def key_of(line: str) -> str:
    """The key of a recorded line; a line that no list would be allowed to have is its own key."""
    item = parse_item(line)
    return item.key if isinstance(item, Item) else line


def now() -> str:
    """The time as it is recorded."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class History:
    """What stands of everything that was done."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: list[Entry] = []
        self.decided: dict[str, Entry] = {}
        """The decision that stands, by key."""
        self.flagged: dict[str, str] = {}
        """The notes of the flags that stand, by key."""
        self._keys: list[str] = []
        self._standing: dict[str, list[int]] = {}
        self._places: dict[str, int] = {}
        self._stack: list[int] = []
        self._moved: dict[str, str] = {}
        for entry in entries:
            self.apply(entry)

    @classmethod
    def read(cls, folder: Path, known: Collection[str] = ()) -> History:
        """What a folder records, also while an annotator is at work in it; the original's files count as well.

        `known` are the keys of the list: a last line without an end that names one of them is whole.
        """
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. Name the folder that the decisions are in.")
        try:
            texts = _read_texts(folder)  # before the log: each of their lines stands in it already
            history = cls(_read_log(folder)[0])
        except OSError as error:
            raise InputError(f"{folder} cannot be read: {error.strerror or error}. Check its rights.") from error
        for entry in _foreign(history, texts, known)[0]:
            history.apply(entry)
        return history

    def apply(self, entry: Entry) -> None:
        """Take in what was done next."""
        number = len(self.entries)
        self.entries.append(entry)
        self._keys.append(entry.key)
        standing = self._standing.setdefault(entry.key, [])
        if entry.action == "undo":
            at = next((n for n in range(len(self._stack) - 1, -1, -1) if self._keys[self._stack[n]] == entry.key), None)
            if at is not None:
                standing.remove(self._stack.pop(at))
        elif entry.action == "moved":
            former = self._standing.pop(entry.origin, [])
            for old in former:
                self._keys[old] = entry.key
            self._standing[entry.key] = sorted(former + standing)
            self._moved[entry.key] = entry.line
            self._refresh(entry.origin)
        else:
            standing.append(number)
            if not entry.origin:
                self._stack.append(number)
        self._refresh(entry.key)

    def knows(self, key: str) -> bool:
        """Whether anything was ever done with an item."""
        return key in self._standing

    def last(self) -> tuple[str, Entry] | None:
        """The key and the entry that an undo takes back; None if there is none. Decisions taken over stay."""
        return (self._keys[self._stack[-1]], self.entries[self._stack[-1]]) if self._stack else None

    def stands(self, number: int) -> bool:
        """Whether the entry with this number is a decision that stands."""
        return self._places.get(self._keys[number]) == number

    def newest(self) -> list[str]:
        """The keys that are decided, in the order of their decisions."""
        return sorted(self._places, key=self._places.__getitem__)

    def lines(self, decision: str) -> list[str]:
        """The lines of a text file."""
        keys = (key for key in self.newest() if self.decided[key].action == decision)
        return [self._moved.get(key, self.decided[key].line) for key in keys]

    def _refresh(self, key: str) -> None:
        self._places.pop(key, None)
        self.decided.pop(key, None)
        self.flagged.pop(key, None)
        for number in self._standing.get(key, ()):
            entry = self.entries[number]
            if entry.action in TEXTS:
                self._places[key], self.decided[key] = number, entry
            elif entry.action == "flag":
                self.flagged[key] = entry.note
            else:
                self.flagged.pop(key, None)


class Records:
    """The records of one folder, locked for one annotator; `close` them at the end."""

    def __init__(self, folder: Path, known: Collection[str] = ()) -> None:
        """Lock the folder, mend what a kill tore, and make the text files agree with decisions.jsonl."""
        self.folder = folder
        self.notices: list[str] = []
        """What was found to be wrong and was put right."""
        self.history = History()
        self._known = known
        self._size = 0
        self._stale: set[str] = set()
        self._said: set[str] = set()
        self._text_sizes: dict[str, int] = {}
        busy = (
            f"Somebody is screening in {folder} already. Close that window, or choose another folder for your "
            "decisions: each annotator has one of their own."
        )
        self._lock: FileLock | None = lock_folder(folder, ".screen.lock", busy)
        try:
            self._load()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise unwritable(folder, error) from error
            raise

    def close(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            self._update_texts()
            self._lock.release()
            self._lock = None

    def append(self, entry: Entry) -> None:
        """Put an entry on the disk, then into the text files; OutputError leaves everything as it was."""
        if self._lock is None:
            raise OutputError(f"The session in {self.folder} is closed. Open it again.")
        with writing(self.folder / LOG):
            self._meet_changes()
            self._write(entry.to_line())
        before = self.history.decided.get(entry.key)
        self.history.apply(entry)
        after = self.history.decided.get(entry.key)
        if before is None and after is entry and not self._stale:
            self._append_text(entry)
        elif (before and (before.action, before.line)) != (after and (after.action, after.line)):
            self._stale |= {found.action for found in (before, after) if found is not None}
        if entry.action == "moved":
            self._stale |= set(TEXTS)
        self._update_texts()

    # -- opening ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        path = self.folder / LOG
        ledger.mend(path, lambda line: Entry.from_line(line.rstrip(b"\0")) is not None)
        if not path.exists():
            path.touch()
            with contextlib.suppress(OSError):  # not every system opens folders
                sync(self.folder)
        entries, damaged = _read_log(self.folder)
        self._size = path.stat().st_size
        self.history = History(entries)
        if damaged:
            self.notices.append(f"{path}: {damaged} damaged lines were passed over.")
        self._agree(bool(entries))

    def _agree(self, say: bool) -> None:
        """Take over what only the text files have, and make them agree with decisions.jsonl."""
        texts = _read_texts(self.folder)
        foreign, said = _foreign(self.history, texts, self._known)
        self.notices += said
        if foreign:
            self._write(b"".join(entry.to_line() for entry in foreign))
            for entry in foreign:
                self.history.apply(entry)
            names = sorted({entry.origin for entry in foreign})
            self.notices.append(f"{len(foreign)} decisions were taken over from {', '.join(names)}.")
        for decision, (lines, torn) in texts.items():
            wanted, there = set(self.history.lines(decision)), set(lines)
            if wanted != there or torn:
                self._stale.add(decision)
            if say and wanted != there:
                lacked, extra = len(wanted - there), len(there - wanted)
                many = " and ".join(
                    f"{count} {word}" for count, word in ((lacked, "missing"), (extra, "extra")) if count
                )
                self.notices.append(f"{TEXTS[decision]} did not agree with {LOG} ({many} lines) and was put right.")
        self._update_texts()
        self._text_sizes = self._measured()

    # -- writing ---------------------------------------------------------------------------------------------

    def _meet_changes(self) -> None:
        """Take in what another program, or a person, has done to the files meanwhile."""
        path = self.folder / LOG
        size = path.stat().st_size if path.exists() else -1
        if size == self._size:
            if self._text_sizes != self._measured():
                with contextlib.suppress(OSError):  # unreadable ones are no reason to refuse a decision
                    self._agree(say=True)
        elif size < self._size:
            self.notices.append(f"{path} had lost lines and was written again.")
            write_whole(path, b"".join(entry.to_line() for entry in self.history.entries))
            self._size = path.stat().st_size
        else:
            self.notices.append(f"{path} was changed by another program and was read again.")
            self._load()

    def _write(self, content: bytes) -> None:
        ledger.append(self.folder / LOG, content)
        self._size += len(content)

    # The text files are not synced: what a power cut takes from them is written again from the log.

    def _append_text(self, entry: Entry) -> None:
        try:
            with (self.folder / TEXTS[entry.action]).open("ab") as file:
                self._text_sizes[entry.action] = file.tell() + file.write(encode(f"{entry.line}\n"))
        except OSError:
            self._stale.add(entry.action)

    def _measured(self) -> dict[str, int]:
        sizes = {}
        for decision, name in TEXTS.items():
            with contextlib.suppress(OSError):
                sizes[decision] = (self.folder / name).stat().st_size
        return sizes

    def _update_texts(self) -> None:
        if not self._stale:
            return
        for decision in sorted(self._stale):
            path = self.folder / TEXTS[decision]
            lines = self.history.lines(decision)
            if not lines and not path.exists():
                self._stale.discard(decision)
                continue
            try:
                with whole_file(path, durable=False) as partial:
                    partial.write_bytes(encode("".join(f"{line}\n" for line in lines)))
                self._stale.discard(decision)
            except OSError as error:  # the decision itself is safe in the log; the next one tries again
                if decision not in self._said:
                    self._said.add(decision)
                    self.notices.append(f"{unwritable(path, error)} The decisions are safe in {LOG}.")
        self._text_sizes = self._measured()


def _read_log(folder: Path) -> tuple[list[Entry], int]:
    """The entries, and the number of damaged lines."""
    try:
        *lines, last = (folder / LOG).read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    found = [Entry.from_line(line) for line in lines if line.strip()]
    entries = [entry for entry in found if entry is not None]
    damaged = len(found) - len(entries)
    if (unended := Entry.from_line(last)) is not None:
        entries.append(unended)
    return entries, damaged


def _read_texts(folder: Path) -> dict[str, tuple[list[str], bool]]:
    """For each decision the lines of its text file, and whether the last one has no end."""
    texts = {}
    for decision, name in TEXTS.items():
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            content = b""
        lines = [line.strip() for line in decode(content).replace("\r", "\n").split("\n")]
        torn = bool(content) and not content.endswith((b"\n", b"\r"))
        texts[decision] = ([line for line in lines if line and "\0" not in line and not line.startswith("#")], torn)
    return texts


def _foreign(
    history: History, texts: dict[str, tuple[list[str], bool]], known: Collection[str]
) -> tuple[list[Entry], list[str]]:
    """Decisions that only the text files have, as the original script or a person wrote them; what to say of them."""
    logged = {entry.line for entry in history.entries}
    entries: dict[str, Entry] = {}
    notices = []
    for decision, (lines, torn) in texts.items():
        name = TEXTS[decision]
        for number, line in enumerate(lines, 1):
            if line in logged:
                continue
            key = key_of(line)
            # Without its end, an address could have gone on, unless it ends in a model's id.
            ended = key != line and line.lower().endswith(key)
            if torn and number == len(lines) and key not in known and not ended:
                notices.append(f"{name}: the last line, {line[:80]!r}, is torn and was left out.")
            elif history.knows(key):
                continue
            elif key in entries and entries[key].origin != name:
                both = f"{entries[key].origin} and {name}"
                entries[key] = Entry(key, line, "flag", note=f"stood in {both}", origin=both)
                notices.append(f"{line} stood in {both}: it is flagged and waits to be judged again.")
            else:
                entries.setdefault(key, Entry(key, line, decision, origin=name))
    return list(entries.values()), notices


def make_folder(folder: Path) -> None:
    """Make a folder if it is not there."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
