"""A machine for the pickle format that can build nested data, and nothing else.

A pickle is a program for a machine with a stack and numbered notes (the memo).  {"lr": 0.1} is

    80 02           PROTO 2
    7d              EMPTY_DICT          stack: {}
    58 02000000 lr  BINUNICODE          stack: {} "lr"
    47 ........     BINFLOAT            stack: {} "lr" 0.1
    73              SETITEM             stack: {"lr": 0.1}
    2e              STOP

Python's own module imports and calls whatever such a program names.  This one knows a table of names (`allowed`), and
calls only what stands in it.  What a hostile program could otherwise do is bounded too: time and memory stay
proportional to the bytes read, nothing recurses, and lengths are held against the file before anything is taken.
Opcodes: CPython's Lib/pickletools.py, protocols 1 to 5; those no weight file needs (INST, OBJ, EXT, NEWOBJ...) are
refused.
"""
from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from .errors import FileFormatError
from .pickle_values import KEY_KINDS, Call, check_result

MAX_BYTES = 16 << 20                                 # of one program; a tensor takes about 100
MAX_OBJECTS = 250_000                                # containers and calls, of which a tensor takes 7: one byte of
                                                     # program can make 200 bytes of memory
MAX_STACK = 1 << 18
MAX_MARKS = 1000
MAX_KEY = 4096                                       # characters, so that comparing keys stays cheap
MAX_OTHER_KEYS = 10_000                              # numbers hash predictably: many can be made to collide
MAX_INTEGER = 1024                                   # bytes


def run(data, start: int, allowed: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any] | None = None) -> tuple[Any, int]:
    """Run the program in `data` (bytes or a mapped file) that begins at byte `start`: (its result, where it ends).

    allowed: (module, name) -> the `Call`, `Opaque` or plain value that stands for it.  persistent: what a persistent
    id stands for.  The result is made of None, bool, int, float, complex, str, bytes, list, tuple, dict, set,
    frozenset and whatever the calls give.  Raises FileFormatError for everything else.
    """
    machine = _Machine(data, start, allowed, persistent)
    result = machine.run()
    check_result(result)
    return result, machine.at


class _Machine:
    """One run.  `marks` holds the stacks below the latest MARK, as in CPython: no opcode searches for it."""

    def __init__(self, data, start, allowed, persistent):
        self.data, self.at, self.end = data, start, min(len(data), start + MAX_BYTES)
        self.size = self.end - start
        self.allowed, self.persistent = allowed, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.objects = self.other_keys = self.copied = 0

    def run(self):
        data, end = self.data, self.end
        while self.at < end:
            code = data[self.at]
            self.at += 1
            if code == _STOP:
                return self.pop()
            operation = OPERATIONS[code]
            if operation is None:
                raise FileFormatError(f"pickle opcode 0x{code:02x} at byte {self.at - 1} is not one weight files need")
            operation(self)
            if len(self.stack) > MAX_STACK:
                raise FileFormatError(f"the pickle stacks up more than {MAX_STACK} values")
        raise FileFormatError("the pickle is cut short" if end == len(data) else
                              f"the pickle is longer than {MAX_BYTES} bytes")

    # ------------------------------------------------------------------------------------ the program's bytes

    def take(self, n):
        """The next n bytes."""
        at = self.at
        if n > self.end - at:
            raise FileFormatError(f"the pickle is cut short: {n} more bytes were announced at byte {at}")
        self.at = at + n
        return self.data[at:at + n]

    def number(self, n):
        """The next n bytes, as an integer."""
        return int.from_bytes(self.take(n), "little")

    def byte(self):
        """The next byte: number(1), for most operations have one."""
        at = self.at
        if at >= self.end:
            raise FileFormatError("the pickle is cut short")
        self.at = at + 1
        return self.data[at]

    def line(self):
        """The text up to the end of the line, at most 256 bytes of it."""
        stop = self.data.find(b"\n", self.at, min(self.end, self.at + 256))
        if stop < 0:
            raise FileFormatError(f"the pickle is cut short: a line without end at byte {self.at}")
        text = self.data[self.at:stop]
        self.at = stop + 1
        return _text(text)

    # ------------------------------------------------------------------------------------ stack and memo

    def push(self, value):
        self.stack.append(value)

    def new(self, value):
        """Push a value that may take much more memory than the byte that asked for it."""
        self.objects += 1
        if self.objects > MAX_OBJECTS:
            raise FileFormatError(f"the pickle makes more than {MAX_OBJECTS} objects")
        self.stack.append(value)

    def pop(self):
        if not self.stack:
            raise FileFormatError(f"the pickle takes from an empty stack at byte {self.at}")
        return self.stack.pop()

    def pop_mark(self):
        """All values since the latest MARK."""
        if not self.marks:
            raise FileFormatError(f"the pickle looks for a mark it never made at byte {self.at}")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self, kind):
        """The value on top, which must be of a kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            found = type(self.stack[-1]).__name__ if self.stack else "nothing"
            raise FileFormatError(f"the pickle expects a {kind.__name__} on its stack at byte {self.at}, "
                                  f"{found} is there")
        return self.stack[-1]

    def mark(self):
        if len(self.marks) == MAX_MARKS:
            raise FileFormatError(f"the pickle has more than {MAX_MARKS} marks at once")
        self.marks.append(self.stack)
        self.stack = []

    def put(self, index):
        # Picklers number from 0 or 1 up: far-off numbers only serve to make the memo's keys collide.
        if not 0 <= index <= self.size:
            raise FileFormatError(f"the pickle notes a value under {index}, it has {self.size} bytes only")
        if not self.stack:
            raise FileFormatError(f"the pickle notes a value it does not have at byte {self.at}")
        self.memo[index] = self.stack[-1]

    def get(self, index):
        if index not in self.memo:
            raise FileFormatError(f"the pickle asks for note {index}, which it never made")
        self.stack.append(self.memo[index])

    # ------------------------------------------------------------------------------------ containers

    def tuple_of(self, n):
        if len(self.stack) < n:
            raise FileFormatError(f"the pickle takes from an empty stack at byte {self.at}")
        items = tuple(self.stack[-n:])
        del self.stack[-n:]
        self.new(items)

    def append(self):
        value = self.pop()
        self.top(list).append(value)

    def appends(self):
        items = self.pop_mark()
        self.top(list).extend(items)

    def set_item(self):
        value, key = self.pop(), self.pop()
        self.top(dict)[self.key(key)] = value

    def set_items(self):
        items = self.pop_mark()
        self.update(self.top(dict), items)

    def add_items(self):
        items = self.pop_mark()
        self.top(set).update(map(self.key, items))

    def update(self, mapping, items):
        """Put key, value, key, value... into a dict."""
        if len(items) % 2:
            raise FileFormatError(f"the pickle has a key without value before byte {self.at}")
        for key, value in zip(items[::2], items[1::2]):
            mapping[self.key(key)] = value

    def items(self, sequence):
        """A list or tuple that is about to be copied: together they cannot be longer than the program."""
        if type(sequence) not in (list, tuple):
            raise FileFormatError(f"the pickle takes the items of a {type(sequence).__name__}")
        self.copied += len(sequence)
        if self.copied > self.size:
            raise FileFormatError("the pickle copies the same items again and again")
        return sequence

    def key(self, key):
        """A key of a dict or member of a set, which must be cheap to hash and to compare."""
        if type(key) in (str, bytes):
            if len(key) > MAX_KEY:
                raise FileFormatError(f"a key of {len(key)} characters: at most {MAX_KEY} are accepted")
            return key
        parts = key if type(key) is tuple else (key,)
        if len(parts) > 8 or any(type(p) not in KEY_KINDS or type(p) is str and len(p) > MAX_KEY for p in parts):
            raise FileFormatError(f"a {type(key).__name__} as key: only text, numbers and short tuples of them can be")
        self.other_keys += 1
        if self.other_keys > MAX_OTHER_KEYS:
            raise FileFormatError(f"more than {MAX_OTHER_KEYS} keys that are no text")
        return key

    # ------------------------------------------------------------------------------------ names and calls

    def look_up(self, module, name):
        """What the table has for a name."""
        if type(module) is not str or type(name) is not str:
            raise FileFormatError("the pickle asks for something whose name is no text")
        if (module, name) not in self.allowed:
            raise FileFormatError(f"the pickle asks for {module[:80]}.{name[:80]}, which is nothing a weight file "
                                  "needs and might run code: save the model's state_dict() alone")
        self.push(self.allowed[module, name])

    def stack_global(self):
        name, module = self.pop(), self.pop()
        self.look_up(module, name)

    def reduce(self):
        """function, (arguments) -> what the function gives."""
        args, call = self.pop(), self.pop()
        if type(call) is not Call or type(args) is not tuple:
            raise FileFormatError(f"the pickle calls a {type(call).__name__} with a {type(args).__name__}")
        if not call.fewest <= len(args) <= call.most:
            raise FileFormatError(f"{call.name} is called with {len(args)} arguments, it takes {call.fewest} to "
                                  f"{call.most}")
        self.new(call.function(self, *args))

    def build(self):
        """object, state -> object: the state of an OrderedDict is its attributes, which have no place in a dict."""
        if type(self.pop()) is not dict:
            raise FileFormatError("the pickle sets the state of something with what is no dict")
        self.top(dict)

    def persistent_id(self):
        if self.persistent is None:
            raise FileFormatError("the pickle mentions a storage where none can be")
        self.new(self.persistent(self.pop()))


# ---------------------------------------------------------------------------------------- opcodes

def _text(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise FileFormatError(f"the text {raw[:40]!r} is not valid UTF-8") from None


def _integer_line(machine):
    """INT and LONG, from protocol 1: decimal text; 00 and 01 are booleans."""
    text = machine.line()
    if text in ("00", "01"):
        machine.push(text == "01")
        return
    try:
        machine.push(int(text.removesuffix("L")))
    except ValueError:
        raise FileFormatError(f"{text[:40]!r} is no whole number") from None


def _integer(machine, n):
    """LONG1 and LONG4: n bytes, the highest bit is the sign."""
    if n > MAX_INTEGER:
        raise FileFormatError(f"a whole number of {n} bytes: at most {MAX_INTEGER} are accepted")
    machine.push(int.from_bytes(machine.take(n), "little", signed=True))


def _protocol(machine):
    version = machine.byte()
    if not 1 <= version <= 5:
        raise FileFormatError(f"pickle protocol {version}: 1 to 5 are read")


def _frame(machine):
    """Bytes that belong together: for readers of streams.  Only their number can be wrong."""
    n = machine.number(8)
    if n > machine.end - machine.at:
        raise FileFormatError(f"the pickle is cut short: a frame of {n} bytes was announced at byte {machine.at}")


def _dict(machine):
    """DICT: the values since the mark, as a dict."""
    mapping: dict[Any, Any] = {}
    machine.update(mapping, machine.pop_mark())
    machine.new(mapping)


def _index(machine):
    text = machine.line()
    if not text.isdecimal() or len(text) > 9:
        raise FileFormatError(f"{text[:40]!r} is no number of a note")
    return int(text)


_STOP = 0x2E
OPERATIONS: list[Callable[[_Machine], None] | None] = [None] * 256
for _code, _operation in {
    0x80: _protocol, 0x95: _frame, 0x28: _Machine.mark,
    # numbers
    0x4E: lambda m: m.push(None), 0x88: lambda m: m.push(True), 0x89: lambda m: m.push(False),
    0x49: _integer_line, 0x4C: _integer_line, 0x4B: lambda m: m.push(m.byte()), 0x4D: lambda m: m.push(m.number(2)),
    0x4A: lambda m: _integer(m, 4), 0x8A: lambda m: _integer(m, m.byte()), 0x8B: lambda m: _integer(m, m.number(4)),
    0x47: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # text and bytes: the length has 1, 4 or 8 bytes; 54 and 55 are the text of Python 2
    0x8C: lambda m: m.push(_text(m.take(m.byte()))), 0x58: lambda m: m.push(_text(m.take(m.number(4)))),
    0x8D: lambda m: m.push(_text(m.take(m.number(8)))), 0x55: lambda m: m.push(_text(m.take(m.byte()))),
    0x54: lambda m: m.push(_text(m.take(m.number(4)))), 0x43: lambda m: m.push(m.take(m.byte())),
    0x42: lambda m: m.push(m.take(m.number(4))), 0x8E: lambda m: m.push(m.take(m.number(8))),
    # containers
    0x5D: lambda m: m.new([]), 0x7D: lambda m: m.new({}), 0x8F: lambda m: m.new(set()), 0x29: lambda m: m.new(()),
    0x85: lambda m: m.tuple_of(1), 0x86: lambda m: m.tuple_of(2), 0x87: lambda m: m.tuple_of(3),
    0x74: lambda m: m.new(tuple(m.pop_mark())), 0x6C: lambda m: m.new(m.pop_mark()), 0x64: _dict,
    0x91: lambda m: m.new(frozenset(map(m.key, m.pop_mark()))),
    0x61: _Machine.append, 0x65: _Machine.appends, 0x73: _Machine.set_item, 0x75: _Machine.set_items,
    0x90: _Machine.add_items,
    # memo
    0x70: lambda m: m.put(_index(m)), 0x71: lambda m: m.put(m.byte()), 0x72: lambda m: m.put(m.number(4)),
    0x94: lambda m: m.put(len(m.memo)), 0x67: lambda m: m.get(_index(m)), 0x68: lambda m: m.get(m.byte()),
    0x6A: lambda m: m.get(m.number(4)),
    # names and calls
    0x63: lambda m: m.look_up(m.line(), m.line()), 0x93: _Machine.stack_global, 0x52: _Machine.reduce,
    0x62: _Machine.build, 0x51: _Machine.persistent_id,
}.items():
    OPERATIONS[_code] = _operation
