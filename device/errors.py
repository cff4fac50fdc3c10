"""The errors a user can meet, and how a command line ends on them.

Exit codes: 0 done; 1 the work failed or missed its gate; 2 bad input or configuration.
"""

import sys
from typing import NoReturn

import typer
from pydantic import ValidationError

# a path that a user named is not what it should be; anything else, a full disk, is no input
UNUSABLE = (
    FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError,
)  # fmt: skip


class FieldwrenError(Exception):
    """The work failed. The message is one line: what, where, what to do."""

    exit_code = 1


class BadInputError(FieldwrenError):
    """A file, a device, a setting or an argument cannot be used as it is."""

    exit_code = 2


class NonFiniteError(FieldwrenError):
    """A model returned NaN or infinity: never compared with a threshold, always refused."""


def first_problem(error: ValidationError) -> str:
    """One line on the first thing that a file or a table gets wrong."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "top level"
    reason = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"]
    return f"{where}: {reason}"


def run(cli: typer.Typer) -> NoReturn:
    """Run a command line; end on our errors with one line on stderr and their exit code."""
    try:
        cli()
    except FieldwrenError as error:
        line = " ".join(str(error).split())
        print(f"error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UNUSABLE) else 1)
    sys.exit(0)
