"""An agreement as people write it: YAML with paths in it, read into the value that is signed.

What is signed holds cards and small tables by value, so the paths are read and inlined here, below the file's own
folder and nowhere else. Every scalar is read as text and typed by the model alone (in YAML itself Norway's NO is
false). Anchors, aliases, tags, duplicate keys and further documents are refused: each makes a file that says
something else than it seems to.

The enclave never imports this module: it alone knows YAML.
"""

import copy
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from sealstat.agreement import check
from sealstat.agreement._mending import Mending, in_words, mended
from sealstat.agreement.model import Agreement
from sealstat.crypto.cards import CARD_LIMIT_BYTES, parse_card
from sealstat.crypto.errors import MalformedError

FILE_LIMIT_BYTES = 1024 * 1024
TABLE_LIMIT_BYTES = 128 * 1024
TABLE_LIMIT_ROWS = 10_000
PROBLEM_LIMIT = 200  # a file with more is no draft of an agreement
_DEPTH_LIMIT = 16

_CARDS = {("parties", "*", "card"): "party", ("host", "card"): "host", ("witnesses", "cards", "*"): "witness"}
_TABLES = ("tasks", "*", "parameters", "*")
_DIGESTS = (("supersedes",), ("enclave", "accept", "*", "source"), ("enclave", "accept", "*", "roots", "*"))

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake in a draft: line and column count from 1, the place is a dotted path, empty for the whole file."""

    line: int
    column: int
    place: str
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """The problem as plain JSON."""
        return {"line": self.line, "column": self.column, "place": self.place, "sentence": self.sentence}


@dataclass(frozen=True, slots=True)
class Draft:
    """What a file says: an agreement without any problem, or None and at least one problem, in order of lines."""

    agreement: Agreement | None
    problems: tuple[Problem, ...]


def load(path: Path, catalogue: check.Catalogue | None = None) -> Draft:
    """Read a draft and find every mistake in it; never raises for what is in the file.

    Args:
        path: the YAML file; paths in it are relative to its folder.
        catalogue: the statistics and schemas at hand; without one, what only they know is not checked.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT_BYTES + 1)
    except OSError:
        return Draft(None, (Problem(1, 1, "", "the file cannot be read: check its name and its permissions"),))
    return parse(data, path.parent, catalogue)


def parse(data: bytes, folder: Path, catalogue: check.Catalogue | None = None) -> Draft:
    """Like :func:`load`, of bytes whose paths are relative to a folder."""
    notes = _Notes()
    agreement = None
    try:
        tree = _Composer(notes).compose(_decode(data))
        _inline(tree, folder, notes)
        agreement = _judge(tree, catalogue, notes)
    except _UnreadableError as error:
        notes.problems.append(Problem(error.line, error.column, "", str(error)))
    problems = tuple(sorted(set(notes.problems))[:PROBLEM_LIMIT])
    return Draft(None if problems else agreement, problems)


def load_parameters(path: Path) -> Any:
    """The parameters of a task in a YAML file of their own, as they would stand in an agreement: text, tables by path.

    Raises:
        ValueError: with the first mistake and its line.
        OSError: the file cannot be read.
    """
    notes = _Notes()
    try:
        tree = {"tasks": {"task": {"parameters": _Composer(notes).compose(_decode(path.read_bytes()))}}}
        _inline(tree, path.parent, notes)
    except _UnreadableError as error:
        raise ValueError(f"line {error.line}: {error}") from error
    if notes.problems:
        first = min(notes.problems)
        raise ValueError(f"line {first.line}: {first.sentence}")
    return tree["tasks"]["task"]["parameters"]


class _UnreadableError(Exception):
    """Nothing after this point of the file can be read."""

    def __init__(self, sentence: str, line: int = 1, column: int = 1) -> None:
        self.line, self.column = line, column
        super().__init__(sentence)


@dataclass
class _Notes:
    """Problems found so far, and where in the file each place stands."""

    problems: list[Problem] = field(default_factory=list)
    positions: dict[Place, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    spoilt: set[Place] = field(default_factory=set)  # places with a problem: what follows from one is no second one

    def add(self, place: Place, sentence: str, *, at: tuple[int, int] | None = None) -> None:
        line, column = at or self.position(place)
        self.problems.append(Problem(line, column, ".".join(str(part) for part in place), sentence))
        self.spoilt.add(place)

    def position(self, place: Place, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column of a place, or of the nearest one above it that stands in the file."""
        while place:
            if of_key and place in self.keys:
                return self.keys[place]
            if place in self.positions:
                return self.positions[place]
            place = place[:-1]
        return (1, 1)

    def is_spoilt(self, place: Place) -> bool:
        """Whether a problem is known at this place, above or below it."""
        return any(place[: len(one)] == one or one[: len(place)] == place for one in self.spoilt)


# --- YAML to a tree of text -------------------------------------------------------------------------------------


def _decode(data: bytes) -> str:
    if len(data) > FILE_LIMIT_BYTES:
        raise _UnreadableError(
            f"the file is larger than {FILE_LIMIT_BYTES} bytes: large tables are delivered, not agreed"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise _UnreadableError("the file is not UTF-8 text: save it as UTF-8", line, column) from error


class _Composer:
    """Builds dicts, lists and text from YAML events, and notes everything that YAML could do behind one's back."""

    def __init__(self, notes: _Notes) -> None:
        self.notes = notes
        self.events: Iterator[Any] = iter(())

    def compose(self, text: str) -> Any:
        import yaml

        try:
            self.events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
            return self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = _mark(mark) if mark else (1, 1)
            # the problem names characters of YAML only ("found ':'"), never a value
            raise _UnreadableError(f"this is not YAML: {error.problem or 'unreadable'}", line, column) from error
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            line, column = before.count("\n") + 1, error.position - before.rfind("\n")
            raise _UnreadableError("a character that YAML does not allow stands here", line, column) from error
        except (ValueError, OverflowError, RecursionError) as error:
            # PyYAML's own slips, such as "\UFFFFFFFF"
            raise _UnreadableError("this is not YAML: an escape or number in it cannot be read") from error

    def _document(self) -> Any:
        import yaml

        found: list[Any] = []
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if found:
                    raise _UnreadableError(
                        "a second document begins here: one file is one agreement", *_mark(event.start_mark)
                    )
                if event.version or event.tags:
                    raise _UnreadableError("a YAML directive stands here: leave it out", *_mark(event.start_mark))
                found.append(self._node(next(self.events), ()))
        if not found or not isinstance(found[0], dict):
            raise _UnreadableError("expected the fields of an agreement: begin with `sealstat agreement new visitors`")
        return found[0]

    def _node(self, event: Any, place: Place) -> Any:
        import yaml

        at = _mark(event.start_mark)
        self.notes.positions.setdefault(place, at)
        if len(place) > _DEPTH_LIMIT:
            raise _UnreadableError(f"the file is nested deeper than {_DEPTH_LIMIT} levels", *at)
        if isinstance(event, yaml.AliasEvent):
            self.notes.add(place, "a reference (*) stands here: write the value out", at=at)
            return ""
        if event.anchor is not None:
            self.notes.add(place, "an anchor (&) stands here: write the value out where it is needed", at=at)
        if event.tag is not None:
            self.notes.add(place, "a tag (!) stands here: the field itself says what type its value has", at=at)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(place)
        if isinstance(event, yaml.MappingStartEvent):
            return self._fields(place)
        self.notes.positions[place] = at  # of a scalar: where the value stands, not its key
        if event.value == "" and event.style is None and event.tag is None:
            self.notes.add(place, "the value is missing: write it, or leave the field out", at=at)
        elif _has_surrogate(event.value):
            self.notes.add(place, "half a character stands here: write the text anew", at=at)
            return ""
        return event.value

    def _list(self, place: Place) -> list[Any]:
        import yaml

        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self._node(event, (*place, len(found))))
        return found

    def _fields(self, place: Place) -> dict[str, Any]:
        import yaml

        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            at = _mark(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                raise _UnreadableError("expected the name of a field, got something else", *at)
            name = event.value
            if _has_surrogate(name):
                raise _UnreadableError("half a character stands here: write the name anew", *at)
            if event.anchor is not None or event.tag is not None:
                self.notes.add((*place, name), "an anchor (&) or tag (!) stands here: leave it out", at=at)
            inside = (*place, name)
            if name in found:
                first = self.notes.keys[inside][0]
                self._skip(next(self.events))
                self.notes.add(inside, f"the field stands twice, first on line {first}: keep one", at=at)
                continue
            self.notes.keys[inside] = self.notes.positions[inside] = at
            found[name] = self._node(next(self.events), inside)
        return found

    def _skip(self, event: Any) -> None:
        """Pass over a node that does not count."""
        import yaml

        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return
            event = next(self.events)


def _mark(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)


# --- paths to values --------------------------------------------------------------------------------------------


def _inline(tree: Any, folder: Path, notes: _Notes) -> None:
    for pattern, kind in _CARDS.items():
        for owner, key, place in _matches(tree, pattern):
            if isinstance(owner[key], str) and not notes.is_spoilt(place):
                try:
                    owner[key] = _card(_read(folder, owner[key], CARD_LIMIT_BYTES), kind)
                except _FileError as error:
                    notes.add(place, str(error))
    for owner, key, place in _matches(tree, _TABLES):
        if isinstance(owner[key], str) and owner[key].endswith(".csv") and not notes.is_spoilt(place):
            try:
                owner[key] = _table(_read(folder, owner[key], TABLE_LIMIT_BYTES))
            except _FileError as error:
                notes.add(place, str(error))
    for pattern in _DIGESTS:
        for owner, key, _ in _matches(tree, pattern):
            if isinstance(owner[key], str):
                owner[key] = owner[key].removeprefix("sha256:")


def _matches(node: Any, pattern: tuple[str, ...], at: Place = ()) -> Iterator[tuple[Any, Any, Place]]:
    """(container, key, place) of everything that stands at a pattern, in which ``*`` is any key."""
    keys: list[Any] = list(node) if isinstance(node, dict) else []
    if isinstance(node, list):
        keys = list(range(len(node)))
    for key in keys:
        if pattern[0] in ("*", key) and len(pattern) == 1:
            yield node, key, (*at, key)
        elif pattern[0] in ("*", key):
            yield from _matches(node[key], pattern[1:], (*at, key))


class _FileError(Exception):
    """A file named in the draft that cannot be taken in."""


def _read(folder: Path, name: str, limit: int) -> bytes:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise _FileError("the path leads out of this file's folder: put the file into it, and name it from there")
    try:
        target = (folder / path).resolve()
        if not target.is_relative_to(folder.resolve()):  # a symbolic link
            raise _FileError("the path leads out of this file's folder: put the file itself into it")
        if not target.is_file():
            raise _FileError("there is no such file: paths are relative to the folder of this file")
        with target.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise _FileError("the file cannot be read: check its name and its permissions") from error
    if len(data) > limit:
        raise _FileError(f"the file is larger than {limit} bytes")
    return data


def _card(data: bytes, kind: str) -> dict[str, Any]:
    try:
        card = parse_card(data)
    except MalformedError as error:
        raise _FileError(f"the file holds no card of a {kind}: {error}") from error
    if card.kind != kind:
        raise _FileError(f"expected the card of a {kind}, the file holds that of a {card.kind}")
    return card.model_dump(mode="json", by_alias=True, exclude_none=True)


def _table(data: bytes) -> list[dict[str, str]]:
    """The rows of a small CSV table, each as text by column name; spaces around a value do not count."""
    try:
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = [[cell.strip() for cell in line] for line in lines if line]
    except UnicodeDecodeError as error:
        raise _FileError("the table is not UTF-8 text: save it as UTF-8") from error
    except csv.Error as error:
        raise _FileError("the table is not CSV: check quotes and separators") from error
    if len(rows) < 2:
        raise _FileError("expected a table with a header and at least one row below it")
    header, *body = rows
    if len(body) > TABLE_LIMIT_ROWS:
        raise _FileError(f"the table has {len(body)} rows, the limit is {TABLE_LIMIT_ROWS}")
    if len(set(header)) != len(header) or not all(header):
        raise _FileError("the first line must name every column of the table, each by another name")
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise _FileError(f"row {number} of the table has {len(row)} values, its header {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in body]


# --- the tree as an agreement -----------------------------------------------------------------------------------


def _judge(tree: Any, catalogue: check.Catalogue | None, notes: _Notes) -> Agreement | None:
    """The agreement that a tree of text means; every mistake goes into the notes."""
    try:
        agreement = _typed(tree)
    except ValidationError as error:
        found = [one for one in in_words(error, tree) if one.of_key or not notes.is_spoilt(one.place)]
        for one in found:
            # a missing field is shown where its owner stands; a wrong name is told even where its value is wrong, too
            notes.add(one.place, one.sentence, at=notes.position(one.place, of_key=one.of_key))
        # A first mistake must not hide others: what can be understood is judged with the rest mended.
        mending = mended(copy.deepcopy(tree), _typed)
    else:
        mending = Mending(agreement, frozenset())
    if mending.agreement is None:
        return None
    notes.spoilt |= mending.places
    for path, sentence in check.problems(mending.agreement, catalogue):
        place = _place(path)
        if not notes.is_spoilt(place) and not mending.is_about(sentence):
            notes.add(place, sentence)
    return mending.agreement


def _typed(tree: Any) -> Agreement:
    """The model's reading of text: numbers and yes or no where it wants them."""
    if isinstance(tree, dict) and tree.get("sealstat") == "1":
        tree = {**tree, "sealstat": 1}
    return Agreement.model_validate(tree, strict=False)


def _place(path: str) -> Place:
    return tuple(int(part) if part.isdecimal() else part for part in path.split(".")) if path else ()
