"""Models of configuration files: a class with one :class:`Key` for each key that a mapping may hold.

No key but the known ones; a key without a value, or with an empty one, is None. A model knows how to read
itself from plain values (:func:`jobmgr.core.checking.check_model`), and its JSON Schema; nothing here is more
than a table of the readers in :mod:`jobmgr.core.fields`, so that a command that checks a suite starts at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar, overload

from jobmgr.core.fields import Path, Wrong, found

T = TypeVar("T")
M = TypeVar("M", bound="Model")
Schema = Mapping[str, Any]


class Kind(Generic[T]):
    """A kind of value: its reader (raises :class:`Wrong`), and its JSON Schema."""

    def __init__(self, read: Callable[[Any], T], schema: Schema) -> None:
        self.read = read
        self.schema = schema


class LeftOut(Exception):
    """A value cannot be used; what is wrong with it has been noted."""


class Notes:
    """What is wrong in a tree of values, as it is found.

    ``wrongs``: the path of the line, the path that is printed, and the text, for each thing. ``left_out``: the
    paths of the values that could not be used. ``unknown`` tells of a key, given those that are known.
    """

    def __init__(self, unknown: Callable[[str, list[str]], str]) -> None:
        self.wrongs: list[tuple[Path, Path, str]] = []
        self.left_out: set[Path] = set()
        self._unknown = unknown

    def leave_out(self, place: Path, *texts: tuple[Path, str]) -> LeftOut:
        """Note all that is wrong with the value at ``place``, each with its path inside the value."""
        self.wrongs += [((*place, *inner), (*place, *inner), text) for inner, text in texts]
        self.left_out.add(place)
        return LeftOut()

    def unknown_key(self, place: Path, key: str, known: list[str]) -> None:
        self.wrongs.append(((*place, key), place, self._unknown(key, known)))
        self.left_out.add((*place, key))

    def expected_mapping(self, place: Path, value: object) -> LeftOut:
        return self.leave_out(place, ((), f"expected a mapping, found {found(value)}"))


class Key(Generic[T]):
    """One key of a model; as an attribute of one that was read, its value or None."""

    name = ""

    def __init__(self, kind: Kind[T], description: str) -> None:
        self._kind = kind
        self.description = description

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> Key[T]: ...
    @overload
    def __get__(self, model: Model, owner: type) -> T | None: ...
    def __get__(self, model: Model | None, owner: type) -> Key[T] | T | None:
        return self if model is None else model.given.get(self.name)

    def read(self, value: object, place: Path, notes: Notes) -> T:
        """The value of the key. Raises LeftOut."""
        try:
            return self._kind.read(value)
        except Wrong as wrong:
            raise notes.leave_out(place, *wrong.wrongs) from None

    def schema(self) -> Schema:
        return self._kind.schema

    def models(self) -> Iterator[type[Model]]:
        """The models that its schema refers to."""
        return iter(())


class One(Key[M]):
    """A key that holds a model."""

    def __init__(self, model: type[M], description: str) -> None:
        self._model = model
        self.description = description

    def read(self, value: object, place: Path, notes: Notes) -> M:
        return self._model.read(value, place, notes)

    def schema(self) -> Schema:
        return reference(self._model)

    def models(self) -> Iterator[type[Model]]:
        return iter((self._model,))


class Many(Key[dict[str, M | None]]):
    """A key that holds models by names of the user's; an empty one is None."""

    def __init__(self, model: type[M], description: str) -> None:
        self._model = model
        self.description = description

    def read(self, value: object, place: Path, notes: Notes) -> dict[str, M | None]:
        if not isinstance(value, dict):
            raise notes.expected_mapping(place, value)
        made: dict[str, M | None] = {}
        for name, inner in value.items():
            with contextlib.suppress(LeftOut):
                made[name] = None if inner is None else self._model.read(inner, (*place, name), notes)
        return made

    def schema(self) -> Schema:
        return {
            "type": "object",
            "additionalProperties": {"anyOf": [reference(self._model), {"type": "null"}]},
        }

    def models(self) -> Iterator[type[Model]]:
        return iter((self._model,))


class Model:
    """Base of all models. ``given`` are the keys that were there, with their values."""

    keys: ClassVar[dict[str, Key[Any]]] = {}

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self.given = given or {}

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Key)}
        cls.keys = {**cls.keys, **own}

    @classmethod
    def read(cls: type[M], value: object, place: Path, notes: Notes) -> M:
        """The model of what is right in a mapping. Raises LeftOut if it is none."""
        if not isinstance(value, dict):
            raise notes.expected_mapping(place, value)
        given: dict[str, Any] = {}
        for name, inner in value.items():
            key = cls.keys.get(name)
            if key is None:
                notes.unknown_key(place, name, list(cls.keys))
                continue
            with contextlib.suppress(LeftOut):
                given[name] = None if inner is None else key.read(inner, (*place, name), notes)
        return cls(given)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """Its JSON Schema, without those of the models that it refers to."""
        return {
            "type": "object",
            "description": cls.__doc__,
            "additionalProperties": False,
            "properties": {
                name: {"anyOf": [*choices(key.schema()), {"type": "null"}], "description": key.description}
                for name, key in cls.keys.items()
            },
        }

    @classmethod
    def referred(cls) -> dict[str, type[Model]]:
        """All models that it refers to, directly or not, by their names."""
        models: dict[str, type[Model]] = {}
        for key in cls.keys.values():
            for model in key.models():
                models = {**models, model.__name__: model, **model.referred()}
        return models


def choices(schema: Schema) -> list[Schema]:
    """A schema as one or more of which any may fit."""
    return list(schema["anyOf"]) if set(schema) == {"anyOf"} else [schema]


def reference(model: type[Model]) -> Schema:
    return {"$ref": f"#/$defs/{model.__name__}"}
