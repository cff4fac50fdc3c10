"""The errors a user can meet, and how a command line ends on them.

Exit codes: 0 done; 1 the work failed or missed its gate; 2 bad input or configuration.
"""

import io
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from device.files import NO_ROOM

# a path that a user named is not what it should be; anything else, a full disk, is no input
UNUSABLE = (
    FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError,
)  # fmt: skip

ENDS = (signal.SIGTERM, signal.SIGHUP)  # a service manager's wish, a terminal that was closed

USAGE: Any = typer.BadParameter.__mro__[1]  # UsageError, of Typer's own Click or of the package


class FieldwrenError(Exception):
    """The work failed. The message is one line: what, where, what to do."""

    exit_code = 1


class BadInputError(FieldwrenError):
    """A file, a device, a setting or an argument cannot be used as it is."""

    exit_code = 2


class NonFiniteError(FieldwrenError):
    """A model returned NaN or infinity: never compared with a threshold, always refused."""


def first_problem(error: ValidationError) -> str:
    """One line on the first thing that a file or a table gets wrong.

    Of a table that may be one of several kinds, it is a key that none of them has.
    """
    problems = error.errors()
    refused = Counter(map(_key, problems))
    first = [one for one in problems if one["loc"][:-2] == problems[0]["loc"][:-2]]
    problem = max(first, key=lambda one: refused[_key(one)])
    where = ".".join(str(part) for part in problem["loc"]) or "top level"
    unknown = problem["type"] == "extra_forbidden"
    reason = "unknown key" if unknown else problem["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}"


def _key(problem: ErrorDetails) -> tuple[object, ...]:
    """What is wrong with which key, whatever kind of table it was taken for."""
    return problem["type"], problem["loc"][:-2], problem["loc"][-1:]


def run(cli: typer.Typer) -> NoReturn:
    """Run a command line; end on our errors, and on wrong usage, with one line on stderr and their
    exit code.

    SIGTERM and SIGHUP end a command that does not handle them itself with 128 + their number, as
    they would, but in order: what it has begun is removed, what it has started is stopped.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # as stderr is: a file's name need not be text, and in JSON \udce9 is the same name still
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _orderly_end():
            code = cli(standalone_mode=False)  # a number where --help or a command asks for an end
    except FieldwrenError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except USAGE as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help, where rich has not shown it
            print(error.format_message(), end="", file=sys.stderr)
        else:
            _say(error.format_message())
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UNUSABLE) else 1)
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Inside, the first of ENDS unwinds the stack, and further ones let it do so.

    One that is ignored (nohup) stays ignored. Started programs inherit none of this.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for each in handled:
            signal.signal(each, lambda *_: None)
        sys.exit(128 + number)

    handled = [each for each in ENDS if signal.getsignal(each) is signal.SIG_DFL]
    for each in handled:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)


def _say(message: str) -> None:
    print("error:", *message.split(), file=sys.stderr)
