"""Read the pickle of a PyTorch file as data.

The standard unpickler calls what a file names, and lets it write into what was made: that a file
does no harm then depends on every object it can reach. Here nothing is called at all. A pickle is
a list of instructions for a stack, the standard library's ``pickletools`` knows their arguments,
and the few that a state dictionary needs make tuples, lists, dictionaries, numbers, texts and the
four records below, which no instruction can change. Keys are numbers and texts only, so that
nothing nested is ever hashed, compared or printed.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from fundus.exceptions import BundleError

#: Storage class to numpy type; bfloat16, which numpy lacks, is read as 16 raw bits.
STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

#: Bytes of one pickle. That of a large network with its optimizer has less than a tenth.
MOST_BYTES = 1 << 26
#: Instructions of one pickle: some seconds of work. A large network with its optimizer has 50,000.
MOST_INSTRUCTIONS = 2_000_000
#: Bits of a whole number. The seed of a random generator, the longest one in use, has 128.
MOST_BITS = 2048
#: Bytes of a line, in instructions that are text.
_LONGEST_LINE = 1 << 16

_ORDERED = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_ALLOWED = {_ORDERED, _TENSOR, _PARAMETER, *(f"torch.{name}" for name in STORAGES)}

_INSTRUCTIONS = {op.code.encode("latin-1"): op for op in pickletools.opcodes}

# other escapes make Python warn, which would be the file's doing
_ESCAPED = re.compile(rb"(?:[^\\]|\\(?:[\\'\"abfnrtv]|x[0-9a-fA-F]{2}|[0-3]?[0-7]{1,2}))*")


@dataclass(frozen=True, slots=True)
class Name:
    """Something that the file names, and that is known here."""

    name: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Stands for an object that is no tensor; whatever the file does to it has no effect."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of `numel` numbers; `kind` is a name in `STORAGES`."""

    key: str
    kind: str
    numel: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage, as the file gives it: nothing about it has been checked."""

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


class _Bounded:
    """A file that gives no more bytes than it has, and no more than one pickle may have."""

    def __init__(self, file: IO[bytes], n_bytes: int) -> None:
        self._file, self._left = file, min(n_bytes, MOST_BYTES)

    def read(self, n: int) -> bytes:
        if n > self._left:
            raise EOFError(f"{n} bytes are asked for, {self._left} are left")
        return self._count(self._file.read(n))

    def readline(self) -> bytes:
        return self._count(self._file.readline(min(self._left, _LONGEST_LINE)))

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data


class PickleReader:
    """Reads one pickle.

    Parameters
    ----------
    path : str
        The file's name, for errors.
    replace_foreign : bool, default=False
        Stand-ins for objects that are no tensors, instead of an error.

    Attributes
    ----------
    storages : dict of str to Storage
        Those that the pickle names.
    """

    def __init__(self, path: str, *, replace_foreign: bool = False) -> None:
        self._path, self._replace_foreign = path, replace_foreign
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self, file: IO[bytes], n_bytes: int) -> Any:
        """Read a pickle at a file's position, which has `n_bytes` bytes at most.

        Raises
        ------
        BundleError
            If it names anything but tensors, unless that is replaced.
        Exception
            Of many kinds, if it is damaged.
        """
        bounded = _Bounded(file, n_bytes)
        for _ in range(MOST_INSTRUCTIONS):
            instruction = _INSTRUCTIONS[bounded.read(1)]
            name = instruction.name
            if name == "STOP":
                return self._stack.pop()
            if name == "STRING":
                argument: Any = _quoted(bounded.readline())
            elif instruction.arg is None:
                argument = None
            else:
                argument = instruction.arg.reader(bounded)  # type: ignore[arg-type]
            if name in _PUSHED:
                self._stack.append(_PUSHED[name](argument))
            else:
                _DONE[name](self, argument)
        raise pickle.UnpicklingError(f"it has more than {MOST_INSTRUCTIONS:,} instructions")

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        found = self._stack[start:]
        del self._stack[start:]
        return found

    def _last(self, n: int) -> list[Any]:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) - n < floor:
            raise pickle.UnpicklingError("it takes more values than there are")
        found = self._stack[len(self._stack) - n :]
        del self._stack[len(self._stack) - n :]
        return found

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def _named(self, module: Any, attribute: Any) -> Name | Foreign:
        if type(module) is not str or type(attribute) is not str:
            raise pickle.UnpicklingError("a name that is no text")
        name = f"{module}.{attribute}"
        if name in _ALLOWED:
            return Name(name)
        if self._replace_foreign:
            return Foreign(name)
        raise BundleError(
            f"The file {self._path!r} was refused because it asks for {short(name)}, which is no "
            "part of a dictionary of tensors; load it only with the program that wrote it, if you "
            "trust its source."
        )

    def _called(self, function: Any, arguments: Any) -> Any:
        """What a call would give: a record, never the result of running something."""
        if isinstance(function, Foreign):
            return function
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise pickle.UnpicklingError("a call of what cannot be called")
        if function.name == _PARAMETER:
            return arguments[0]
        if function.name == _TENSOR:
            if not isinstance(arguments[0], Storage):
                raise pickle.UnpicklingError("a tensor without a storage")
            return Tensor(*arguments[:4])
        if function.name != _ORDERED:
            raise pickle.UnpicklingError(f"a call of {function.name}")
        made: dict[Any, Any] = {}
        for key, value in arguments[0] if arguments else ():
            _put(made, [key, value])
        return made

    def _build(self) -> None:
        # the state of an ordered dictionary holds versions, which nobody needs; nothing else of
        # what a state dictionary is made of has a state
        self._last(1)
        if not isinstance(self._stack[-1], (dict, Foreign)):
            raise pickle.UnpicklingError("a state for what has none")

    def _stored(self, reference: Any) -> Storage:
        kind, name, key, _location, numel, *view = reference
        if kind != "storage" or not isinstance(name, Name) or not name.name.endswith("Storage"):
            raise pickle.UnpicklingError("an unknown kind of reference")
        if any(part is not None for part in view):
            raise pickle.UnpicklingError("a storage that is a view")
        if type(key) not in (str, int) or type(numel) is not int or numel < 0:
            raise pickle.UnpicklingError("a storage without a name or a length")
        storage = Storage(str(key), name.name.removeprefix("torch."), numel)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise pickle.UnpicklingError(f"two storages of the name {short(storage.key)}")
        return storage


def short(value: Any) -> str:
    """Return what a file holds as text for an error: never long, and never nested."""
    if isinstance(value, (str, bytes)):
        return repr(value[:100])
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)[:100]
    return f"a {kind_of(value)}"


def kind_of(value: Any) -> str:
    """Name the type of something in a file."""
    return value.name[:100] if isinstance(value, (Foreign, Name)) else type(value).__name__


def _whole(number: int) -> int:
    if number.bit_length() > MOST_BITS:
        raise pickle.UnpicklingError(f"a whole number of more than {MOST_BITS} bits")
    return number


def _quoted(line: bytes) -> str:
    text = line.strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in b"'\"":
        raise pickle.UnpicklingError("a text without quotation marks")
    if not _ESCAPED.fullmatch(text[1:-1]):
        raise pickle.UnpicklingError("a text with unknown escapes")
    return text[1:-1].decode("unicode_escape").encode("latin-1").decode()


def _of_python_2(text: str) -> str:
    # pickletools reads the bytes of Python 2's texts as Latin-1
    return text.encode("latin-1").decode()


def _put(target: Any, items: list[Any]) -> None:
    """Put keys and values, in turn, into a dictionary."""
    if isinstance(target, Foreign):
        return
    if type(target) is not dict or len(items) % 2:
        raise pickle.UnpicklingError("entries for what is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if key is not None and not isinstance(key, (str, bytes, bool, int, float)):
            # a tuple, for one, which is not worth its hash: nobody asks for such an entry
            key = Foreign(f"{kind_of(key)} as a key")
        target[key] = value


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, Foreign):
        return
    if type(target) is not list:
        raise pickle.UnpicklingError("items for what is no list")
    target.extend(items)


def _mapping(items: list[Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    _put(made, items)
    return made


def _refused(_reader: PickleReader, _argument: Any) -> None:
    raise pickle.UnpicklingError("an instruction that no PyTorch file has")


def _as_it_is(value: Any) -> Any:
    return value


#: Instructions that only push something, by name: from the argument to the value.
_PUSHED: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _whole),
    **dict.fromkeys(("FLOAT", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _as_it_is),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _as_it_is),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _of_python_2),
    "STRING": _as_it_is,
    "BYTEARRAY8": lambda _: Foreign("builtins.bytearray"),
    "EMPTY_SET": lambda _: Foreign("builtins.set"),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
}


def _memoise(r: PickleReader, place: int | None) -> None:
    r._memo[len(r._memo) if place is None else place] = r._stack[-1]


def _frozen_set(r: PickleReader, _: Any) -> None:
    r._since_mark()
    r._push(Foreign("builtins.frozenset"))


def _instance(r: PickleReader, name: str) -> None:
    arguments = tuple(r._since_mark())
    r._push(r._called(r._named(*name.split(" ", 1)), arguments))


def _object(r: PickleReader, _: Any) -> None:
    function, *arguments = r._since_mark()
    r._push(r._called(function, tuple(arguments)))


def _forget(r: PickleReader, _: Any) -> None:
    r._since_mark()


def _nothing(_reader: PickleReader, _argument: Any) -> None:
    return


def _tuple_of(n: int) -> Callable[[PickleReader, Any], None]:
    return lambda r, _: r._push(tuple(r._last(n)))


#: All other instructions, by name.
_DONE: dict[str, Callable[[PickleReader, Any], None]] = {
    **{name: _refused for name in (op.name for op in pickletools.opcodes) if name not in _PUSHED},
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _memoise),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda r, k: r._push(r._memo[k])),
    "MARK": lambda r, _: r._marks.append(len(r._stack)),
    "POP": lambda r, _: r._pop(),
    "POP_MARK": _forget,
    "DUP": lambda r, _: r._push(r._stack[-1]),
    "TUPLE": lambda r, _: r._push(tuple(r._since_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": lambda r, _: r._push(r._since_mark()),
    "DICT": lambda r, _: r._push(_mapping(r._since_mark())),
    "FROZENSET": _frozen_set,
    "APPEND": lambda r, _: _extend(r._stack[-2], r._last(1)),
    "APPENDS": lambda r, _: _extend(r._stack[r._marks[-1] - 1], r._since_mark()),
    "ADDITEMS": lambda r, _: _extend(r._stack[r._marks[-1] - 1], r._since_mark()),
    "SETITEM": lambda r, _: _put(r._stack[-3], r._last(2)),
    "SETITEMS": lambda r, _: _put(r._stack[r._marks[-1] - 1], r._since_mark()),
    "GLOBAL": lambda r, name: r._push(r._named(*name.split(" ", 1))),
    "STACK_GLOBAL": lambda r, _: r._push(r._named(*r._last(2))),
    "REDUCE": lambda r, _: r._push(r._called(*r._last(2))),
    "NEWOBJ": lambda r, _: r._push(r._called(*r._last(2))),
    "NEWOBJ_EX": lambda r, _: r._push(r._called(*r._last(3)[:2])),
    "INST": _instance,
    "OBJ": _object,
    "BUILD": lambda r, _: r._build(),
    "BINPERSID": lambda r, _: r._push(r._stored(*r._last(1))),
}
