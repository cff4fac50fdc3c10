"""The walls: who may import whom, and what the Pi has to install."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SHARED_WITH_WORKSTATION = {
    "errors",
    "files",
    "manifest",
    "bundle",
    "runtime",
    "signing",
    "machine",
    "tables",
}
STREAMING = {"enhancer", "memory"}  # what is scored on the workstation is what runs on the Pi


def imports(path: Path) -> set[str]:
    """Every absolute module name a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def device_requirements() -> dict[str, importlib.metadata.Distribution]:
    """The distributions that `pip install fieldwren` brings, as installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    found: dict[str, importlib.metadata.Distribution] = {}
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = importlib.metadata.distribution(name)
        waiting += [Requirement(line) for line in found[name].requires or []]
    return found


def test_the_device_never_imports_the_workstation() -> None:
    heavy = {"compress", "models", "torch", "torchaudio", "scipy", "matplotlib", "av"}
    for path in sources("device", "apps"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & heavy, f"{path.relative_to(ROOT)} imports {sorted(roots & heavy)}"


def test_the_workstation_imports_only_the_shared_part_of_the_device() -> None:
    allowed = SHARED_WITH_WORKSTATION | STREAMING
    for path in sources("compress", "models"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "device":
                assert parts[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_no_pickle_anywhere() -> None:
    for path in sources("apps", "compress", "device", "models", "scripts"):
        text = path.read_text(encoding="utf-8")
        assert "pickle" not in {n.split(".")[0] for n in imports(path)}, path
        for call in text.split("torch.load(")[1:]:
            assert "weights_only=True" in call.split("\n\n")[0], path


def test_what_the_pi_installs_is_small() -> None:
    packages = device_requirements()
    assert not {"torch", "torchaudio", "jax", "transformers", "matplotlib"} & set(packages)
    sizes = {
        name: sum(file.size or 0 for file in distribution.files or []) / 1e6
        for name, distribution in packages.items()
    }
    report = ", ".join(f"{n} {s:.0f}" for n, s in sorted(sizes.items(), key=lambda i: -i[1])[:5])
    print(f"device group: {len(sizes)} packages, {sum(sizes.values()):.0f} MB ({report} …)")
    assert len(sizes) <= 35, sorted(sizes)
    assert sum(sizes.values()) <= 350, report


@pytest.mark.parametrize(
    "command",
    [
        ("apps.birds", "--help"),
        ("apps.speech", "--help"),
        ("device", "--help"),
    ],
)
def test_commands_start_with_the_device_group_alone(command: tuple[str, ...]) -> None:
    """Every import outside the device group fails, as on a Pi."""
    allowed = {
        top
        for distribution in device_requirements().values()
        for file in distribution.files or []
        if (top := file.parts[0].split(".")[0])
    }
    code = f"""
import runpy, sys
from importlib.metadata import packages_distributions
allowed, known = {sorted(allowed | {"apps", "device"})!r}, set(packages_distributions())
class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in known and top not in allowed:
            raise ImportError(f"{{name}} is not in the device group")
sys.meta_path.insert(0, Wall())
sys.argv = {list(command)!r}
runpy.run_module({command[0]!r}, run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Usage" in done.stdout
