"""The command line: `tinycnn VERB ...`.

    stdout     the result; with --json one JSON object as its last line
    stderr     progress, notes and errors
    exit code  0 done, 1 a check failed or training broke down, 2 wrong usage, 3 a file, package or the network is
               missing or a file is damaged, 130 stopped by Ctrl-C, 143 by SIGTERM

A verb is a function `verb(args) -> Result`, in the module of this folder that parser.py names.
"""
from __future__ import annotations

import json
import os
import sys
import warnings
from importlib import import_module
from typing import Any, NamedTuple, Sequence

from .parser import build_parser

OK, FAILED, USAGE, MISSING = 0, 1, 2, 3


class Result(NamedTuple):
    """What a verb found: lines for people, an object for --json, and the exit code."""
    text: str
    data: dict[str, Any]
    code: int = OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default sys.argv[1:]) and return the exit code.

    As any argparse program it leaves by SystemExit, code 2, when the words themselves are wrong.
    """
    args = build_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            result = _run(args)
        print(json.dumps(result.data) if args.json else result.text, flush=True)
        return result.code
    except BrokenPipeError:                          # as when piped into `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return _complain(args, 130, "stopped")
    except Exception as error:
        if args.debug:
            raise
        return _complain(args, _code(error), _paragraph(error))


def _run(args: Any) -> Result:
    if args.threads is not None:
        # Numba reads it once, when it is imported, which is later than here.
        os.environ["NUMBA_NUM_THREADS"] = str(args.threads)
        if "numba" in sys.modules:                   # main() called by a program that has used it already
            sys.modules["numba"].set_num_threads(args.threads)
    module, _, name = args.verb.partition(":")
    return getattr(import_module(f".{module}", __package__), name)(args)


def _warn(message: Any, *where: Any, **more: Any) -> None:
    print(f"tinycnn: warning: {message}", file=sys.stderr, flush=True)


def _complain(args: Any, code: int, message: str) -> int:
    print(f"tinycnn: {message}", file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps({"error": message, "exit_code": code}), flush=True)
    return code


def _code(error: Exception) -> int:
    from ..data import DataError
    from ..io import FileFormatError
    if isinstance(error, (OSError, ImportError, DataError, FileFormatError)):
        return MISSING
    return USAGE if isinstance(error, (ValueError, TypeError, LookupError)) else FAILED


def _paragraph(error: Exception) -> str:
    """The error in one paragraph; its kind too where the message alone would not be understood."""
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    known = isinstance(error, (ValueError, TypeError, OSError, ImportError, LookupError, RuntimeError, ArithmeticError))
    return message if message and known else f"{type(error).__name__}: {message} (--debug shows where)"
