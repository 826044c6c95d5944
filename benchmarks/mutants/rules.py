"""Text -> its mutants: every way, among those of the table below, to change one token or one term of a line.

The rules look at tokens, not at syntax trees, so that they are the same for Python and for CUDA C.  What does not parse
then is no mutant.
"""
from __future__ import annotations

import ast
import re
from typing import Iterator, NamedTuple

_COMMON = r"""(?P<name>[A-Za-z_]\w*)|(?P<number>0[xX][0-9a-fA-F]+\w*|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\w*)"""
_OPERATORS = r"(?P<op><<=|>>=|\*\*|//|<<|>>|<=|>=|==|!=|->|&&|\|\||[-+*/%&|^]=|[^\s\w])"
_STRING = r"'''.*?'''|" + r'""".*?"""|' + r"'(?:\\.|[^'\\\n])*'|" + r'"(?:\\.|[^"\\\n])*"'
TOKENS = {
    "python": re.compile(rf"(?P<skip>#[^\n]*|[rbfuRBFU]{{0,2}}(?:{_STRING}))|{_COMMON}|{_OPERATORS}", re.S),
    "cuda": re.compile(rf"(?P<skip>//[^\n]*|/\*.*?\*/|#\s*(?:include|pragma)[^\n]*|{_STRING})|{_COMMON}|"
                       + _OPERATORS.replace("//|", ""), re.S),
}
SWAPPED = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "**": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&",
           "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
           "==": "!=", "!=": "==", "&&": "||", "||": "&&", "and": "or", "or": "and", "is": "is not",
           "True": "False", "False": "True", "true": "false", "false": "true", "continue": "break",
           "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "all": "any", "any": "all",
           "zeros": "ones", "ones": "zeros", "floor": "ceil", "ceil": "floor", "argmax": "argmin", "argmin": "argmax",
           "zeros_like": "ones_like", "ones_like": "zeros_like", "sin": "cos", "cos": "sin"}
PAIRS = ("H W", "OH OW", "KH KW", "SH SW", "PH PW", "DH DW", "oy ox", "ys xs", "yy xx", "ky kx", "iy ix",
         "rows columns", "top left", "first last", "before after", "mean var", "low high", "height width", "M N", "C O")
PARTNER = {a: b for pair in PAIRS for a, b in (pair.split(), pair.split()[::-1])}
BINARY = {"+", "-", "*", "/", "//", "%", "**", "@", "<<", ">>", "&", "|", "<", ">"}
KEYWORDS = {"return", "if", "else", "elif", "and", "or", "not", "in", "is", "for", "while", "yield", "lambda", "assert",
            "def", "class", "raise", "sizeof", "template"}
COMMUTING = {"min", "max", "minimum", "maximum", "add", "mul", "gcd", "broadcast_shapes"}
# What ends a term behind + or -, and a factor behind * or /.
ENDS = {",", ":", ";", "=", "?", "<", ">", "<=", ">=", "==", "!=", "&", "|", "&&", "||", "<<", ">>", "+", "-", "+=",
        "-=", "*=", "if", "else", "and", "or", "for", "in", "is", "not"}
FACTOR_ENDS = ENDS | {"*", "/", "//", "%", "@"}


class Token(NamedTuple):
    """A name, a number or an operator, and where it stands in the text."""
    kind: str
    text: str
    start: int
    end: int


class Mutant(NamedTuple):
    """text[start:end] of a file becomes `new`; `line` is counted from 1; `number`: which of the same on the line."""
    file: str
    line: int
    start: int
    end: int
    old: str
    new: str
    source: str
    number: int = 1

    @property
    def change(self) -> str:
        """What changes on the line: "'<' -> '<='"."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{' '.join(self.old.split())!r} -> {self.new!r}{again}"

    @property
    def name(self) -> str:
        """As it is listed: "kernels/cpu/pool.py:87 '<' -> '<='"."""
        return f"{self.file}:{self.line} {self.change}"

    @property
    def key(self) -> str:
        """What stays as it is when lines above change."""
        return f"{self.file} | {self.source} | {self.change}"

    def applied(self, text: str) -> str:
        """The text of the file with the change."""
        return text[:self.start] + self.new + text[self.end:]


def mutants(file: str, text: str) -> list[Mutant]:
    """All mutants of a file's text, as they stand in it."""
    language = "python" if file.endswith(".py") else "cuda"
    closed = _closed(text) if language == "python" else []
    tokens, lines, found, seen = _tokens(text, language), text.splitlines(), [], {}
    for i, token in enumerate(tokens):
        if any(a <= token.start < b for a, b in closed):
            continue
        for start, end, new in _changes(tokens, i, text, language):
            line = text.count("\n", 0, start)
            same = (line, text[start:end], new)
            seen[same] = seen.get(same, 0) + 1
            if "\n" not in text[start:end]:
                found.append(Mutant(file, line + 1, start, end, text[start:end], new, lines[line].strip(), seen[same]))
    return found


def _tokens(text, language):
    return [Token(m.lastgroup, m[0], m.start(), m.end()) for m in TOKENS[language].finditer(text)
            if m.lastgroup != "skip"]


def _changes(tokens, i, text, language) -> Iterator[tuple[int, int, str]]:
    """(start, end, new text) of all changes that begin at token i."""
    token, before = tokens[i], tokens[i - 1] if i else None
    joins = before is not None and (before.kind in ("name", "number") or before.text in ")]") and (
        before.text not in KEYWORDS)
    if token.kind == "number":
        yield from ((token.start, token.end, new) for new in _numbers(token.text))
    elif token.text == "not" or token.text == "!" or token.text == "-" and not joins:
        yield token.start, token.end + (token.text == "not"), ""
    elif token.text in BINARY and not (joins and _apart(text, token, language)):
        return                                       # a pointer, a template's bracket, *args
    elif token.text == "is" and tokens[i + 1].text == "not":
        yield token.start, tokens[i + 1].end, "is"
    elif token.text in SWAPPED:
        yield token.start, token.end, SWAPPED[token.text]
    elif token.text == "%":
        yield token.start, token.end, "//" if language == "python" else "/"
    elif token.text in PARTNER and PARTNER[token.text] in _names_around(tokens, i, text):
        yield token.start, token.end, PARTNER[token.text]
    if token.text in ("+", "-", "*", "/") and joins:
        yield token.start, _end_of_term(tokens, i, text), ""
    if token.text == "(" and before is not None and before.kind == "name" and before.text not in KEYWORDS | COMMUTING:
        yield from _swapped_arguments(tokens, i, text)


def _numbers(number) -> list[str]:
    """0 -> 1, 1 -> 0 and 2, n -> n + 1; also of floats, 0.5 -> 1.5; others, as 0x9E37, stay."""
    if re.fullmatch(r"\d+", number):
        return [str(int(number) + 1)] + (["0"] if number == "1" else [])
    return [repr(float(number) + 1)] if re.fullmatch(r"\d+\.\d*", number) else []


def _apart(text, token, language):
    """Whether an operator is one of two operands: in C, where * and < are not always, by the spaces around it."""
    return language == "python" or text[token.start - 1].isspace() and text[token.end].isspace()


def _names_around(tokens, i, text):
    """The names between the blank lines before and behind token i: of its function, as a rule."""
    first, last = (text.rfind("\n\n", 0, tokens[i].start), text.find("\n\n", tokens[i].end))
    return {t.text for t in tokens if t.kind == "name" and first < t.start and (t.end <= last or last < 0)}


def _end_of_term(tokens, i, text):
    """Where the operand behind operator i ends, at the end of the line at the latest."""
    depth, end, ends = 0, tokens[i].end, FACTOR_ENDS if tokens[i].text in "*/" else ENDS
    for token in tokens[i + 1:]:
        behind = end > tokens[i].end and (token.text in ends or "\n" in text[end:token.start])
        if not depth and (behind or token.text in ")]}"):
            break
        depth += (token.text in "([{") - (token.text in ")]}")
        end = token.end
    return end


def _swapped_arguments(tokens, i, text):
    """f(a, b) -> f(b, a), where there are two arguments without names."""
    depth, commas, at = 0, [], i
    while True:
        token = tokens[at]
        depth += (token.text in "([{") - (token.text in ")]}")
        if not depth:
            break
        if depth == 1 and token.text == ",":
            commas.append(token)
        if depth == 1 and token.text in ("=", "for", "int", "const", "lambda") or at + 1 == len(tokens):
            return
        at += 1
    if len(commas) == 1 and tokens[i + 1].text != "*":
        a, b = text[tokens[i].end:commas[0].start], text[commas[0].end:tokens[at].start]
        if b.strip() and a.strip() != b.strip():
            yield tokens[i].end, tokens[at].start, f"{b.strip()}, {a.strip()}"


def _closed(text):
    """Spans of Python text that no rule enters: imports, annotations, and decorators' options (how to compile)."""
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    spans = []
    for node in ast.walk(ast.parse(text)):
        inert = [node] if isinstance(node, (ast.Import, ast.ImportFrom)) else [
            getattr(node, "annotation", None), getattr(node, "returns", None), *getattr(node, "decorator_list", ())]
        spans += [(lines[n.lineno - 1] + n.col_offset, lines[n.end_lineno - 1] + n.end_col_offset)
                  for n in inert if n is not None]
    return spans


def parses(mutant: Mutant, text: str) -> bool:
    """Whether the mutant of a text is a program; of CUDA C the compiler will tell."""
    try:
        return not mutant.file.endswith(".py") or bool(ast.parse(mutant.applied(text)))
    except SyntaxError:
        return False
