"""Model errors in words, and a draft with its errors mended, so that one mistake does not hide the others."""

import copy
import difflib
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sealstat.agreement.model import Agreement

Place = tuple[str | int, ...]

# Stand-ins can be told from what people write: no sentence that names one is shown.
_UNREAD_NAME = "unread-" + "x" * 57
_UNREAD_FIELD = "unread_" + "x" * 57
_UNREAD_REGISTER = "unread_" + "x" * 25
_UNREAD_DATE = "0001-01-01"
_ROUNDS = 12

_KEYS = {"ed25519": "AAAA", "mldsa65": "AAAA"}
_VALID = {"from": f"{_UNREAD_DATE}T00:00:00Z", "to": "9999-12-31T00:00:00Z"}
_STAND_INS: tuple[Any, ...] = (
    _UNREAD_NAME,
    _UNREAD_FIELD,
    "40d",
    _UNREAD_DATE,
    "2",
    "https://host.example",
    "0" * 64,
    "A" * 43 + "=",
    [_UNREAD_NAME],
    [_UNREAD_NAME, _UNREAD_NAME],
    {_UNREAD_REGISTER: "00"},
    {
        "kind": "party",
        "name": _UNREAD_NAME,
        "keys": _KEYS,
        "sealing": {"mlkem768": "AAAA", "x25519": "AAAA"},
        "recovery": "0" * 64,
        "valid": _VALID,
    },
    {
        "kind": "host",
        "name": _UNREAD_NAME,
        "keys": {"ed25519": "AAAA"},
        "log_key": "",
        "origin": _UNREAD_NAME,
        "valid": _VALID,
    },
    {"kind": "witness", "name": _UNREAD_NAME, "cosigner": "", "valid": _VALID},
)

_PATTERNS = {  # every pattern of the model has words of its own: a test sees to it
    "^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$": "expected a name of small letters a to z, digits and hyphens inside",
    "^[a-z][a-z0-9_]{0,63}$": "expected a name of small letters a to z, digits and underscores",
    "^[0-9a-f]{64}$": "expected a digest of 64 digits 0 to 9 and a to f, with or without sha256: before it",
    "^(0(\\.[0-9]{1,6})?|1(\\.0{1,6})?)$": "expected a share from 0 to 1 like 0.05",
    "^https?://[^\\s]{1,200}$": "expected an address like https://stats.example:8700",
    "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$": "expected an Ed25519 public key, 44 characters of base64",
    "^[a-z][a-z0-9_]{0,31}$": "expected a name of small letters a to z, digits and underscores",
    "^([0-9a-f]{2}){1,64}$": "expected 1 to 64 bytes in hexadecimal, small letters",
    "^[A-Z0-9-]{3,40}$": "expected the name of an advisory like INTEL-SA-00615",
    r"^\d{4}-\d{2}-\d{2}$": "expected a day like 2026-12-31",
}
_KINDS = {
    "missing": "this field is missing: add it",
    "literal_error": "expected {expected}",
    "greater_than_equal": "expected at least {ge}",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected at least {min_length} here, found {actual_length}",
    "too_long": "expected at most {max_length} here",
    "string_too_short": "expected some text",
    "string_too_long": "expected at most {max_length} characters",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected one value of text, got a list or fields",
    "list_type": "expected a list, like [a, b]",
    "dict_type": "expected fields, one to a line",
    "union_tag_invalid": "expected a kind of evidence: {expected_tags}",
    "union_tag_not_found": "this entry has no kind: add kind: and the kind of evidence",
    "model_type": "expected fields, one to a line",
}


@dataclass(frozen=True, slots=True)
class Mending:
    """What can be understood of a draft, for finding further mistakes and for nothing else."""

    agreement: Agreement | None
    places: frozenset[Place]

    def is_about(self, sentence: str) -> bool:
        """Whether a finding speaks of a stand-in, not of what somebody wrote."""
        return any(mark in sentence for mark in (_UNREAD_NAME, _UNREAD_FIELD, _UNREAD_DATE))


@dataclass(frozen=True, slots=True)
class Mistake:
    """A model error: its place in the tree, a sentence that repeats no value, and whether the name is at fault."""

    place: Place
    sentence: str
    of_key: bool = False


def in_words(error: ValidationError, tree: Any) -> Iterator[Mistake]:
    """Each error of a model, in words."""
    for one in error.errors(include_url=False, include_input=False):
        place = _in_tree(one["loc"], tree)
        if one["type"] == "extra_forbidden":
            yield Mistake(place, _unknown(one["loc"]), of_key=True)
        else:
            yield Mistake(
                place, _sentence(one["type"], one["msg"], one.get("ctx", {})), of_key=one["loc"][-1] == "[key]"
            )


def _sentence(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind in _KINDS:
        return _KINDS[kind].format_map(context)
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"expected text of the form {context['pattern']}")
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _unknown(loc: tuple[int | str, ...]) -> str:
    nearest = _nearest(loc)
    return f"there is no field {_short(loc[-1])}" + (f": did you mean {nearest}?" if nearest else " here: leave it out")


def _short(name: str | int) -> str:
    """A field's name for a message: what people see of it, and not more than a line."""
    text = "".join(sign for sign in str(name) if sign.isprintable())
    return text if len(text) <= 40 else text[:40] + "…"


def _in_tree(loc: tuple[int | str, ...], tree: Any) -> Place:
    """A model's location without what does not stand in the file: ``[key]`` and the tags of unions."""
    found: list[str | int] = []
    node = tree
    for index, part in enumerate(loc):
        inside = isinstance(node, dict) and part in node
        inside = inside or (isinstance(node, list) and isinstance(part, int) and part < len(node))
        if inside:
            node = node[part]
            found.append(part)
        elif index == len(loc) - 1 and part != "[key]":
            found.append(part)  # a missing field
    return tuple(found)


# --- what the model knows of a place ----------------------------------------------------------------------------


def _fields_at(loc: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """The fields of the model at a location, by the name people write; empty where it has none."""
    model = _bare(_annotation_at(loc))
    return _by_alias(model) if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _by_alias(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _annotation_at(loc: tuple[int | str, ...]) -> Any:
    """The type that the model wants at a location."""
    annotation: Any = Agreement
    for part in loc:
        bare = _bare(annotation)
        tagged = _tagged(annotation, part)
        if tagged is not None:
            annotation = tagged
        elif isinstance(bare, type) and issubclass(bare, BaseModel):
            info = _by_alias(bare).get(str(part))
            annotation = info.rebuild_annotation() if info else Any
        elif get_origin(bare) in (list, dict):
            annotation = get_args(bare)[-1]
    return annotation


def _tagged(annotation: Any, tag: int | str) -> Any:
    """The member of a union by kind that a location's tag means; None if it is no such place."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, types.UnionType):
        return None
    for model in get_args(annotation):
        kind = model.model_fields.get("kind") if isinstance(model, type) and issubclass(model, BaseModel) else None
        if kind is not None and tag in get_args(kind.annotation):
            return model
    return None


def _bare(annotation: Any) -> Any:
    """A type without its constraints and without "or None"."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(one for one in get_args(annotation) if one is not type(None))
        else:
            return annotation


def _nearest(loc: tuple[int | str, ...]) -> str | None:
    found = difflib.get_close_matches(str(loc[-1])[:64], list(_fields_at(loc[:-1])), n=1, cutoff=0.6)
    return found[0] if found else None


# --- mending ----------------------------------------------------------------------------------------------------


def mended(tree: Any, typed: Callable[[Any], Agreement]) -> Mending:
    """A draft with a stand-in for everything that cannot be read; changes the tree that it is given."""
    places: set[Place] = set()
    for _ in range(_ROUNDS):
        try:
            return Mending(typed(tree), frozenset(places))
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False, include_context=False):
                place = _in_tree(one["loc"], tree)
                places.add(place)
                try:
                    able = bool(place) and _mend(tree, place, one["loc"], one["type"])
                except (TypeError, AttributeError, IndexError):
                    continue  # an error above it in this same round has put something else there
                if not able:
                    return Mending(None, frozenset(places))
    return Mending(None, frozenset(places))


def _mend(tree: Any, place: Place, loc: tuple[int | str, ...], kind: str) -> bool:
    """Rename, drop or replace one value; False if that cannot be done."""
    owner: Any = tree
    key: Any
    for key in place[:-1]:
        try:
            owner = owner[key]
        except (KeyError, IndexError, TypeError):
            return True  # mended by an error above it in this same round
    last: Any = place[-1]
    if kind == "extra_forbidden":
        value, nearest = owner.pop(last, None), _nearest(loc)
        if nearest is not None:
            owner.setdefault(nearest, value)
        return True
    if loc[-1] == "[key]":
        owner.pop(last, None)
        return True
    if kind.startswith("union_tag"):
        written = owner[last]
        owner[last] = {**(written if isinstance(written, dict) else {}), "kind": "simulated"}
        return True
    info = _fields_at(loc[:-1]).get(str(last))
    if info is not None and not info.is_required():
        owner.pop(last, None)
        return True
    annotation = _annotation_at(loc)
    stand_in = _stand_in(annotation)
    if stand_in is None:
        return False
    owner[last] = stand_in
    return True


def _stand_in(annotation: Any) -> Any:
    """A value that the type accepts, or one whose own missing fields the next round fills."""
    bare = _bare(annotation)
    if get_origin(bare) is Literal:
        return str(get_args(bare)[0])
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    for candidate in _STAND_INS:
        try:
            adapter.validate_python(candidate, strict=False)
        except ValidationError:
            continue
        return copy.deepcopy(candidate)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return {}
    if get_origin(bare) is list:
        return [{}]
    return None
