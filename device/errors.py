"""The errors a user can meet, and how a command line ends on them.

Exit codes: 0 done; 1 the work failed or missed its gate; 2 bad input or configuration.
"""

import sys
from typing import NoReturn

import typer


class FieldwrenError(Exception):
    """The work failed. The message is one line: what, where, what to do."""

    exit_code = 1


class BadInputError(FieldwrenError):
    """A file, a device, a setting or an argument cannot be used as it is."""

    exit_code = 2


class NonFiniteError(FieldwrenError):
    """A model returned NaN or infinity: never compared with a threshold, always refused."""


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
    sys.exit(0)
