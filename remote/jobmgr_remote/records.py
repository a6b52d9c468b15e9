"""Named tuples that are made without compiling anything.

``collections.namedtuple`` compiles a function for each class, and what it imports costs half as much as the start of
Python itself: with two dozen classes it was more than that, on each call of each host. These do the same for plain
field names, in a little more time per object.
"""

try:
    from _collections import _tuplegetter
except ImportError:
    from operator import itemgetter

    def _tuplegetter(index: int, doc: str) -> property:
        return property(itemgetter(index), doc=doc)


#: For type checkers alone, which know the real one.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import namedtuple
else:

    def namedtuple(name: str, field_names: str, defaults: tuple = ()) -> type:
        """As ``collections.namedtuple``: a subclass of tuple with these fields (words of one text); ``defaults``: of
        the last ones.
        """
        fields = tuple(field_names.split())
        content = {key: _tuplegetter(index, "Field %d" % index) for index, key in enumerate(fields)}
        content.update(__slots__=(), _fields=fields, __doc__="%s(%s)" % (name, ", ".join(fields)))
        content["__match_args__"] = fields
        content["_field_defaults"] = dict(zip(fields[len(fields) - len(defaults) :], defaults))
        return type(name, (_Record,), content)


class _Record(tuple):
    """What all of them have, beside ``_field_defaults``."""

    __slots__ = ()
    _fields = ()  # type: tuple[str, ...]
    def __new__(cls, *values: object, **named: object) -> "_Record":
        """From all fields, by position or by name. Raises TypeError."""
        if named or len(values) < len(cls._fields):
            given = dict(cls._field_defaults, **named)
            rest = cls._fields[len(values) :]
            try:
                values += tuple([given[field] for field in rest])
            except KeyError as missing:
                raise TypeError("%s: no value for %s" % (cls.__name__, missing))
            if not set(named).issubset(rest):
                raise TypeError("%s: unexpected or given twice: %s" % (cls.__name__, ", ".join(sorted(named))))
        return cls._make(values)

    @classmethod
    def _make(cls, values: object) -> "_Record":
        """From the values of all fields in their order. Raises TypeError."""
        made = tuple.__new__(cls, values)
        if len(made) != len(cls._fields):
            raise TypeError("%s has %d fields, not %d" % (cls.__name__, len(cls._fields), len(made)))
        return made

    def _replace(self, **changes: object) -> "_Record":
        """A copy with other values in some fields. Raises ValueError for what is no field."""
        made = self._make(map(changes.pop, self._fields, self))
        if changes:
            raise ValueError("%s has no field %s" % (type(self).__name__, ", ".join(sorted(changes))))
        return made

    def _asdict(self) -> "dict[str, object]":
        return dict(zip(self._fields, self))

    def __repr__(self) -> str:
        said = ["%s=%r" % pair for pair in zip(self._fields, self)]
        return "%s(%s)" % (type(self).__name__, ", ".join(said))

    def __getnewargs__(self) -> tuple:
        return tuple(self)
