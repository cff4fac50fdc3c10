"""`python -m device bundle …`: verify, install, list, roll back."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from device import bundle, config, signing
from device.errors import BadInputError
from device.store import Installed, Store

Json = Annotated[bool, typer.Option("--json", help="for machines")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="the station's TOML file")]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="folder of installed bundles")]

cli = typer.Typer(no_args_is_help=True, help="Check bundles and install them.")


def store_folder(settings: config.Config) -> Path:
    """Where a station keeps its bundles."""
    return settings.state_dir / "bundles"


@cli.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="a bundle folder")],
    file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Check hashes, signature and labels, and run the golden vectors on this machine."""
    rules = config.load(file).bundles if file else config.Bundles()
    model = bundle.load(folder, policy=rules.signature, key_folders=rules.trusted_keys)
    found, manifest = model.bundle, model.bundle.manifest
    golden = bundle.verify_golden(model)
    with_labels = {"labels": len(found.labels)} if found.labels else {}
    result: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "modelSha256": found.model_sha256,
        "hashes": len(manifest.files),
        "signed": found.signed,
        **with_labels,
        "goldenOutput": golden.output,
        "goldenError": golden.error,
        "goldenTolerance": golden.allowed,
        "runtime": model.runtime.description,
    }
    if as_json:
        print(json.dumps(result))
        return
    signature = "by a trusted key" if found.signed else f"not trusted (policy {rules.signature})"
    print(f"{folder}: {manifest.name} {manifest.version}, {manifest.task}")
    print(f"  hashes     {len(manifest.files)} files as the manifest says")
    print(f"  signature  {signature}")
    if found.labels:
        print(f"  labels     {len(found.labels)}, one for each output")
    print(
        f"  golden     largest difference {golden.error:.2g} ({golden.output}), "
        f"allowed {golden.allowed:.2g}, all finite"
    )
    print(f"  runtime    {model.runtime.description}")


@cli.command()
def install(
    source: Annotated[Path, typer.Argument(help="a bundle folder or .tar")],
    file: ConfigFile = None,
    store: StoreFolder = None,
) -> None:
    """Verify a bundle fully, then make it the current one of its name."""
    new = _open(file, store).install(source)
    current = new.path.parent / "current"
    print(f"installed {new.name} {new.version}: {current} → {new.path.name}")
    print(f'to use it: bundle = "{current}" in the configuration, then start the app again')


@cli.command("list")
def list_(file: ConfigFile = None, store: StoreFolder = None, as_json: Json = False) -> None:
    """Every installed version: name, version, model hash, signed, current."""
    versions = _open(file, store).versions()
    if as_json:
        for version in versions:
            print(json.dumps(asdict(version), default=str))
        return
    for version in versions:
        print(_line(version))
    if not versions:
        print("no bundles installed")


@cli.command()
def rollback(
    name: Annotated[str, typer.Argument(help="bundle name, such as birds")],
    file: ConfigFile = None,
    store: StoreFolder = None,
) -> None:
    """Make the previous version current again."""
    back = _open(file, store).rollback(name)
    print(f"{back.name} is {back.version} again: {back.path}")


def _open(file: Path | None, folder: Path | None) -> Store:
    if file is None and folder is None:
        raise BadInputError("which store? give --config FILE or --store DIR")
    if file is None:
        assert folder is not None
        return Store(folder, signing.Policy.WARN)
    settings = config.load(file)
    rules = settings.bundles
    return Store(folder or store_folder(settings), rules.signature, rules.trusted_keys)


def _line(version: Installed) -> str:
    if version.problem:
        return f"{version.name:24} {version.version:8} broken: {version.problem}"
    place = "current" if version.current else "previous" if version.previous else ""
    signed = "signed" if version.signed else "unsigned"
    return (
        f"{version.name:24} {version.version:8} {version.sha256[:12]} {signed:8} {place}".rstrip()
    )
