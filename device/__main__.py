"""`python -m device`: check this machine, look after bundles."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from device import bundle_commands, doctor, errors, files, messages

SCHEMAS = Path(__file__).with_name("schemas")

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check this machine; look after bundles.",
)
cli.add_typer(bundle_commands.cli, name="bundle")
cli.command("doctor")(doctor.command)


@cli.command()
def schemas(
    folder: Annotated[Path, typer.Option(help="where to write them")] = SCHEMAS,
) -> None:
    """Write the JSON Schema of every MQTT payload."""
    for topic in messages.PAYLOADS:
        content = json.dumps(messages.json_schema(topic), indent=1, ensure_ascii=False) + "\n"
        files.write_bytes(folder / messages.schema_file(topic), content.encode())
        print(folder / messages.schema_file(topic))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    errors.run(cli)
