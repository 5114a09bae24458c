"""One annotator going through a list: where they are, what they decide, how far they have got.

    with ScreeningSession.open(Path("urls.txt"), Path("decisions"), "Ada") as session:
        while session.progress().left:
            session.decide("select", seconds=2.1)

Its calls come from one thread at a time. What a call has returned from is on the disk.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.core.errors import InputError, OrielError
from engine.core.files import read_object, write_whole
from engine.screening.gold import GOLD_FILE, GoldSet, WithGold, agreement, read_gold, write_gold
from engine.screening.items import Item, ItemList, anywhere, decode, encode, parse_items, read_items
from engine.screening.records import LOG, TEXTS, Entry, History, Records, now
from engine.screening.review import Opinion, Wanted, decision_table, opinions_in
from engine.screening.stats import seconds_at_work

CRITERION = "\n".join(
    (
        "Select: the model shows the outside of a building, whole or in ruins, as one would walk around it. Statues "
        "just pass.",
        "Reject: interiors and single rooms; flat fronts with nothing behind them; parts such as a door or a window; "
        "whole streets and landscapes; vehicles, furniture, people, and everything else.",
        "Skip what you cannot tell.\n",
    )
)
"""What is asked of the annotators where the project has said nothing else."""
REASONS = ("interior", "flat front", "part of a building", "street or landscape", "no building", "poor model")
"""Why something may have been decided as it was, where the project has said nothing else."""
SETTINGS, TABLE = "screen.json", "decisions.csv"
CRITERION_FILE, REASONS_FILE = "criterion.txt", "reasons.txt"
_LATELY = 60
"""Entries from which the present rate is taken."""


@dataclass(frozen=True)
class ScreeningProgress:
    """How far a list is."""

    total: int
    selected: int
    rejected: int
    skipped: int
    flagged: int
    rate: float | None
    """Decisions an hour, lately and without breaks; None while unknown."""

    @property
    def done(self) -> int:
        """Items with a decision."""
        return self.selected + self.rejected + self.skipped

    @property
    def left(self) -> int:
        """Items without a decision."""
        return self.total - self.done

    @property
    def share(self) -> float | None:
        """Selected ones among those selected and rejected, 0 to 1; None before the first."""
        judged = self.selected + self.rejected
        return self.selected / judged if judged else None

    @property
    def seconds_left(self) -> float | None:
        """Time for the rest at the present rate; None while unknown."""
        return 3600 * self.left / self.rate if self.rate else None


@dataclass(frozen=True)
class Judged:
    """A decision that stands, with the place of its item in the list."""

    index: int
    item: Item
    entry: Entry


class ScreeningSession:
    """A list of items and the decisions on them; make it with `open`, end it with `close`."""

    items: list[Item]
    index: int
    """Place of the current item."""
    notices: list[str]
    """What the annotator should be told, oldest first; who shows them may clear them."""
    at_end: bool
    """Whether nothing is left to decide, and the current item is only where the list ended."""
    wanted: Wanted | None
    """What is being looked at again; None while the list is screened."""

    def __init__(self, source: Path, folder: Path, annotator: str, found: ItemList, records: Records) -> None:
        self.source, self.folder, self.annotator = source, folder, annotator
        self.items, self.index, self.notices = [], 0, []
        self.at_end, self.wanted = False, None
        self._again: list[int] = []
        self._sweeps: list[list[int]] = []
        """The numbers of the entries of each `decide_all`."""
        self._others: dict[str, list[Opinion]] = {}
        self._records = records
        self._gold = self._found_gold()
        self._take(found)
        self.index = self._first()

    @classmethod
    def open(cls, source: Path | None, folder: Path, annotator: str = "") -> ScreeningSession:
        """Open a list, a folder of models or a crawl's folder, with the decisions in `folder`.

        `source` None opens the one that the folder was last opened with. The first item without a decision after
        the last decided one is current. InputError if there is nothing to screen or somebody else is at it.

        >>> _ = (folder / "list.txt").write_text("church.glb\\ntower.glb\\n")
        >>> session = ScreeningSession.open(folder / "list.txt", folder / "decisions", "Ada")
        >>> session.decide("select").key  # what is next
        'tower.glb'
        >>> session.progress().left, [item.key for item in session.selected()]
        (1, ['church.glb'])
        >>> session.close()
        """
        annotator = " ".join((annotator or default_annotator()).split())
        settings = _read_settings(folder)
        if source is None:
            source = _last_source(folder, settings)
        source = source.absolute()
        notices = []
        try:
            found = read_items(source)
        except InputError as error:
            if source.exists() or not settings.get("items") or settings.get("source") != str(source):
                raise
            found = _kept(settings, source)
            notices = [f"{error} The list goes on as it was when it was last read."]
        records = Records(folder, {item.key for item in found.items})
        try:
            session = cls(source, folder, annotator, found, records)
        except BaseException:
            records.close()
            raise
        session.notices[:0] = notices
        return session

    def close(self) -> None:
        """Release the folder for others; all decisions stand in decisions.csv as well."""
        with contextlib.suppress(OrielError):  # the log has them
            if self._records.history.decided:
                every = (opinion for told in self._opinions().values() for opinion in told)
                write_whole(self.folder / TABLE, decision_table(every))
        self._records.close()

    def __enter__(self) -> ScreeningSession:
        return self

    def __exit__(self, *arguments: object) -> None:
        self.close()

    def reload(self) -> None:
        """Read the list or folder again, as it may have been edited; the current item stays where it can.

        What has changed is added to `notices`. InputError if it cannot be read; everything stays as it was.
        """
        found, key = read_items(self.source), self.current.key
        self._take(found)
        place = self._places.get(key)
        self.index = self._first() if place is None else place

    # -- deciding --------------------------------------------------------------------------------------------

    def decide(
        self,
        decision: str,
        seconds: float | None = None,
        note: str = "",
        *,
        reasons: Sequence[str] = (),
        unseen: bool = False,
    ) -> Item:
        """Record `select`, `reject` or `skip` for the current item and go on to the next one without a decision.

        In a review, to the next one of it. `seconds` is what the annotator took; `unseen` says that the model was not
        on the screen. Returns the item that is current then: the same one, with `at_end`, if none is left. OutputError
        if it could not be written; nothing has changed then.
        """
        if decision not in TEXTS:
            raise InputError(f"There is no decision {decision!r}. Choose one of {', '.join(TEXTS)}.")
        self._record(self.current, decision, seconds, note, tuple(reasons), unseen)
        if self.wanted is not None:
            self.at_end = self._step(1) is None
        else:
            self.at_end = self.next_unjudged() is None
        return self.current

    def decide_all(
        self, decision: str, items: Sequence[Item], *, reasons: Sequence[str] = (), unseen: Collection[Item] = ()
    ) -> None:
        """Record a decision for several items, one after the other; the current item stays.

        Of what an OutputError interrupts, the items before are recorded.
        """
        first = len(self._records.history.entries)
        try:
            for item in items:
                self._record(item, decision, None, "", tuple(reasons), item in unseen)
        finally:
            if done := list(range(first, len(self._records.history.entries))):
                self._sweeps.append(done)

    def undo_all(self) -> list[Item]:
        """Take back the last `decide_all`, if nothing was done since; else as `undo`. Returns the items."""
        history = self._records.history
        last = history.last()
        sweep = (
            self._sweeps.pop() if self._sweeps and last and history.entries[self._sweeps[-1][-1]] is last[1] else [0]
        )
        return [item for _ in sweep if (item := self.undo()) is not None]

    def give_reasons(self, item: Item, reasons: Sequence[str]) -> None:
        """Record an item's decision again, with other reasons; nothing if it has none."""
        entry = self.decision(item)
        if entry is not None:
            self._record(item, entry.action, None, entry.note, tuple(reasons), entry.unseen)

    def undo(self) -> Item | None:
        """Take back the last decision or flag that stands, also one of an earlier day, and go to its item.

        Returns the item; None if there is nothing to take back, or the list does not have the item any more.
        """
        last = self._records.history.last()
        if last is None:
            return None
        key, entry = last
        self._append(Entry(key, entry.line, "undo", self.annotator, now()))
        place = self._places.get(key)
        if place is None:
            self.notices.append(f"What was taken back is not in the list any more: {entry.line}")
            return None
        self.index = place
        self.at_end = False
        return self.current

    def flag(self, item: Item, note: str = "") -> None:
        """Mark an item for a second look, with a short note."""
        self._record(item, "flag", None, " ".join(note.split()))

    def unflag(self, item: Item) -> None:
        """Take the mark from an item, if it has one."""
        if item.key in self._records.history.flagged:
            self._record(item, "unflag", None, "")

    # -- moving ----------------------------------------------------------------------------------------------

    @property
    def current(self) -> Item:
        """The item to judge."""
        return self.items[self.index]

    def go(self, to: int | Item) -> Item:
        """Go to a place of the list, the nearest that there is, or to an item."""
        place = to if isinstance(to, int) else self._places.get(to.key, self.index)
        self.index = min(max(place, 0), len(self.items) - 1)
        self.at_end = False
        return self.current

    def back(self) -> Item:
        """Go to the item before, in a review to the one of it; the first one stays."""
        self.at_end = False
        if self.wanted is not None:
            self._step(-1)
            return self.current
        return self.go(self.index - 1)

    def forward(self) -> Item:
        """Go to the item after, in a review to the one of it; the last one stays."""
        self.at_end = False
        if self.wanted is not None:
            self._step(1)
            return self.current
        return self.go(self.index + 1)

    def review(self, wanted: Wanted | None, others: Sequence[Path] = ()) -> int:
        """Look again at what was decided, here and in `others`' folders; None goes on with the list.

        Goes to the first item that is wanted. The items stay the same however they are decided meanwhile. Returns how
        many there are: with none of them everything stays as it was. InputError for a folder that cannot be read.
        """
        self.at_end = False
        if wanted is None:
            self.wanted, self._again, self._others = None, [], {}
            self._first()
            return 0
        self._others = opinions_in(others, self._places) if others else {}
        opinions = self._opinions()
        again = [at for at, item in enumerate(self.items) if wanted.matches(opinions.get(item.key, ()))]
        if again:
            self.wanted, self._again, self.index = wanted, again, again[0]
        return len(again)

    @property
    def place_in_review(self) -> tuple[int, int]:
        """Which of how many items of the review is current, from 1; 0 for one that is not of it."""
        at = self._again.index(self.index) + 1 if self.index in self._again else 0
        return at, len(self._again)

    def opinions(self, item: Item) -> list[Opinion]:
        """What was decided of an item, here and in the folders of a review."""
        return [*self._own(item.key), *self._others.get(item.key, ())]

    def people(self) -> list[str]:
        """All who have decided anything, here and in the folders of a review."""
        return sorted({opinion.who for told in self._opinions().values() for opinion in told})

    def next_unjudged(self) -> Item | None:
        """Go to the next item without a decision, past the end to the beginning; None if there is none."""
        return self._next(lambda key: key not in self._records.history.decided)

    def next_skipped(self) -> Item | None:
        """Go to the next item that was skipped; None if there is none."""
        decided = self._records.history.decided
        return self._next(lambda key: key in decided and decided[key].action == "skip")

    def upcoming(self, count: int) -> list[Item]:
        """The items that come next, in the order in which `decide` goes to them."""
        if self.wanted is not None:
            return [self.items[at] for at in self._again if at > self.index][:count]
        decided = self._records.history.decided
        found: list[Item] = []
        for place in self._round():
            if len(found) == count:
                break
            if self.items[place].key not in decided and place != self.index:
                found.append(self.items[place])
        return found

    @property
    def gold(self) -> WithGold | None:
        """How well one agrees with the project's gold set, gold.csv in the folder or beside the list; None without."""
        return None if self._gold is None else agreement(self._gold, self._records.history.decided.items())

    def use_gold(self, path: Path) -> None:
        """Take a gold set, a table or a folder with decisions, and keep it in the folder. InputError as `read_gold`."""
        gold = read_gold(path)
        lines = {item.key: item.line if item.key in self._places else anywhere(item).line for item in gold.items}
        write_gold(self.folder / GOLD_FILE, {line: gold.decisions[key] for key, line in lines.items()})
        self._gold = gold

    def _found_gold(self) -> GoldSet | None:
        for place in (self.folder, self.source.parent):
            if (place / GOLD_FILE).is_file():
                try:
                    return read_gold(place / GOLD_FILE)
                except InputError as error:
                    self.notices.append(str(error))
        return None

    def reasons_given(self) -> list[str]:
        """The project's reasons and all that any decision names, here and in the folders of a review."""
        told = (opinion.entry.reasons for found in self._opinions().values() for opinion in found)
        return list(dict.fromkeys([*self.reasons, *sorted({reason for reasons in told for reason in reasons})]))

    # -- looking ---------------------------------------------------------------------------------------------

    def decision(self, item: Item) -> Entry | None:
        """The decision on an item, with who made it and when; None if there is none."""
        return self._records.history.decided.get(item.key)

    def note(self, item: Item) -> str | None:
        """The note of an item's flag; None if it has no flag."""
        return self._records.history.flagged.get(item.key)

    def flags(self) -> list[tuple[Item, str]]:
        """The flagged items of the list with their notes, in the list's order."""
        flagged = self._records.history.flagged
        return [(item, flagged[item.key]) for item in self.items if item.key in flagged]

    def recent(self, count: int) -> list[Judged]:
        """The last decisions that stand on items of the list, newest first."""
        found: list[Judged] = []
        for key in reversed(self._records.history.newest()):
            if len(found) == count:
                break
            if (place := self._places.get(key)) is not None:
                found.append(Judged(place, self.items[place], self._records.history.decided[key]))
        return found

    def selected(self, decision: str = "select") -> list[Item]:
        """The items of the list with a decision, in the list's order."""
        decided = self._records.history.decided
        return [item for item in self.items if item.key in decided and decided[item.key].action == decision]

    def progress(self) -> ScreeningProgress:
        """How far the list is, and how fast it goes."""
        history = self._records.history
        found = (history.decided.get(item.key) for item in self.items)
        counts = Counter(entry.action for entry in found if entry is not None)
        return ScreeningProgress(
            total=len(self.items),
            selected=counts["select"],
            rejected=counts["reject"],
            skipped=counts["skip"],
            flagged=len(self._places.keys() & history.flagged.keys()),
            rate=self._rate(),
        )

    @property
    def criterion(self) -> str:
        """What is asked of the annotators: the text in the folder, or else beside the list, or else the usual one."""
        return kept_text(CRITERION_FILE, self.folder, self.source) or CRITERION

    def save_criterion(self, text: str) -> None:
        """Keep another text for this folder."""
        write_whole(self.folder / CRITERION_FILE, encode(text))

    @property
    def reasons(self) -> list[str]:
        """The project's reasons, nine at most: those in the folder, or else beside the list, or else the usual ones."""
        return reasons_in(kept_text(REASONS_FILE, self.folder, self.source) or "\n".join(REASONS))

    def save_reasons(self, text: str) -> None:
        """Keep other reasons for this folder, one a line."""
        write_whole(self.folder / REASONS_FILE, encode("".join(f"{reason}\n" for reason in reasons_in(text))))

    # -- inside ----------------------------------------------------------------------------------------------

    def _take(self, found: ItemList) -> None:
        """Make what was read the list, and say what is unusual about it."""
        self.items = found.items
        self._places = {item.key: place for place, item in enumerate(self.items)}
        self.notices += self._records.notices
        self._records.notices = []
        if found.bad:
            more = f" (and {len(found.bad) - 1} more)" if len(found.bad) > 1 else ""
            self.notices.append(f"The list has lines that name nothing to screen: {found.bad[0]}{more}.")
        if found.duplicates:
            self.notices.append(f"The list names {found.duplicates} items again; each is shown once.")
        before, lines = _read_settings(self.folder), [item.line for item in self.items]
        if isinstance(before.get("items"), list) and before.get("source") == str(self.source):
            added, gone = len(set(lines) - set(before["items"])), len(set(before["items"]) - set(lines))
            if added or gone:
                self.notices.append(f"The list was edited: {added} items are new, {gone} are gone.")
        self._follow_moves()
        strangers = self._records.history.decided.keys() - self._places.keys()
        if strangers:
            self.notices.append(f"{len(strangers)} decisions are on items that the list does not have; they are kept.")
        missing = [item.path for item in self.items if item.path is not None and not item.path.exists()]
        if missing:
            self.notices.append(f"{len(missing)} files are missing, the first is {missing[0]}.")
        settings = settings_of(self.folder, self.source, found)
        if settings != before:
            write_whole(self.folder / SETTINGS, json.dumps(settings).encode())

    def _follow_moves(self) -> None:
        """Give the decisions on files that were moved or are named otherwise now to those files."""
        history = self._records.history
        orphans: dict[tuple[str, int], list[str]] = {}
        for key in history.decided.keys() - self._places.keys():
            entry = history.decided[key]
            if entry.size is not None:
                orphans.setdefault((_name(key), entry.size), []).append(key)
        if not orphans:
            return
        names = {name for name, _ in orphans}
        fresh: dict[tuple[str, int], list[Item]] = {}
        for item in self.items:
            if not history.knows(item.key) and item.path is not None and item.path.name in names:
                size = _size(item)
                if size is not None:
                    fresh.setdefault((item.path.name, size), []).append(item)
        told = [name for name in orphans if len(orphans[name]) == 1 and len(fresh.get(name, ())) == 1]
        moves = [(orphans[name][0], fresh[name][0]) for name in told]
        for former, item in moves:
            self._append(Entry(item.key, item.line, "moved", self.annotator, now(), size=_size(item), origin=former))
        if moves:
            self.notices.append(f"{len(moves)} files have moved; their decisions went with them.")

    def _record(
        self,
        item: Item,
        action: str,
        seconds: float | None,
        note: str,
        reasons: tuple[str, ...] = (),
        unseen: bool = False,
    ) -> None:
        entry = Entry(item.key, item.line, action, self.annotator, now(), seconds, note, _size(item))
        self._append(replace(entry, reasons=reasons, unseen=unseen))

    def _append(self, entry: Entry) -> None:
        self._records.append(entry)
        self.notices += self._records.notices
        self._records.notices = []

    def _first(self) -> int:
        """The first item without a decision after the last decided one; the last item if all are decided."""
        history = self._records.history
        last = next((self._places[key] for key in reversed(history.newest()) if key in self._places), None)
        self.index = len(self.items) - 1 if last is None else last
        self.at_end = self.next_unjudged() is None
        return self.index

    def _step(self, by: int) -> Item | None:
        """Go to the item of the review before (-1) or after (1) the current one; None if there is none."""
        ahead = [at for at in self._again if (at - self.index) * by > 0]
        if not ahead:
            return None
        self.index = min(ahead) if by > 0 else max(ahead)
        return self.current

    def _own(self, key: str) -> list[Opinion]:
        history = self._records.history
        if (entry := history.decided.get(key)) is None:
            return []
        return [Opinion(entry.who or self.folder.name, entry, history.flagged.get(key))]

    def _opinions(self) -> dict[str, list[Opinion]]:
        own = {key: self._own(key) for key in self._records.history.newest()}
        return own | {key: [*own.get(key, ()), *told] for key, told in self._others.items()}

    def _round(self) -> Iterator[int]:
        """The places after the current one, then those from the beginning up to it."""
        yield from range(self.index + 1, len(self.items))
        yield from range(self.index + 1)

    def _next(self, wanted: Any) -> Item | None:
        place = next((place for place in self._round() if wanted(self.items[place].key)), None)
        if place is None:
            return None
        self.index = place
        self.at_end = False
        return self.current

    def _rate(self) -> float | None:
        history = self._records.history
        first = max(0, len(history.entries) - _LATELY)
        own = [n for n in range(first, len(history.entries)) if history.entries[n].who == self.annotator]
        seconds = seconds_at_work([history.entries[n] for n in own])
        count = sum(history.stands(n) for n in own)
        return 3600 * count / seconds if seconds > 0 and count > 1 else None


def chosen_items(folder: Path, decision: str = "select") -> tuple[list[Item], list[str]]:
    """The items with a decision, in the list's order, and what should be told of them; also while somebody screens.

    Items that the list does not have any more come last, and all of them in the order of their decisions where
    the list is not known.
    """
    settings, notices = _read_settings(folder), []
    found = ItemList()
    if settings:
        source = _last_source(folder, settings)
        try:
            found = read_items(source)
        except InputError as error:
            notices.append(f"{error} The list is taken as it was when it was last read.")
            found = _kept(settings, source)
    history = History.read(folder, {item.key for item in found.items})
    if not history.decided:
        raise InputError(f"There are no decisions in {folder}. Name the folder of a session or of merged results.")
    keys = {key for key, entry in history.decided.items() if entry.action == decision}
    items = [item for item in found.items if item.key in keys]
    rest = keys - {item.key for item in items}
    lines = [history.decided[key].line for key in history.newest() if key in rest]
    return items + parse_items(lines, folder).items, notices


def default_annotator() -> str:
    """The name of the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "annotator"


def default_folder(source: Path) -> Path:
    """Where the decisions on a list or folder go if nothing else is said.

    A folder of models keeps them itself; a list where they lie beside it already, as with the original script,
    else in a folder of its own beside it.
    """
    if source.is_dir():
        return source
    beside = source.absolute().parent
    used_with = _read_settings(beside).get("source", str(source.absolute()))
    if used_with == str(source.absolute()) and any((beside / name).exists() for name in (LOG, *TEXTS.values())):
        return beside
    return beside / f"{source.stem}-screened"


def kept_text(name: str, folder: Path, source: Path) -> str:
    """A text of the project: that in the annotator's folder, or else beside the list; empty if there is none."""
    for place in (folder, source.parent):
        try:
            return decode((place / name).read_bytes())
        except OSError:
            continue
    return ""


def reasons_in(text: str) -> list[str]:
    """The first nine lines that say something, each once."""
    return list(dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()))[:9]


def _read_settings(folder: Path) -> dict[str, Any]:
    return read_object(folder / SETTINGS) or {}


def settings_of(folder: Path, source: Path, found: ItemList) -> dict[str, Any]:
    """What screen.json holds: the list, where it lies seen from the folder, and a copy of it."""
    try:
        beside = os.path.relpath(source, folder)
    except ValueError:  # another drive
        beside = ""
    lines = [item.line for item in found.items]
    return {"source": str(source), "beside": beside, "models": str(found.models or ""), "items": lines}


def _last_source(folder: Path, settings: dict[str, Any]) -> Path:
    stated, beside = settings.get("source"), settings.get("beside")
    if not isinstance(stated, str):
        raise InputError(f"{folder} does not say which list its decisions belong to. Name the list as well.")
    if not Path(stated).exists() and beside and (folder / beside).exists():  # both were moved
        return (folder / beside).resolve()
    return Path(stated)


def _kept(settings: dict[str, Any], source: Path) -> ItemList:
    models = settings.get("models")
    lines = [line for line in settings.get("items") or () if isinstance(line, str)]
    return parse_items(lines, source.parent, Path(models) if models else None)


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _size(item: Item) -> int | None:
    try:
        return item.path.stat().st_size if item.path is not None else None
    except OSError:
        return None
