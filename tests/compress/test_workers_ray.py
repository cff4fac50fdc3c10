"""Ray workers, on a real cluster of two CPUs: the same results, whoever dies on the way."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from compress import recipe, seeds, stages, store, train, workers
from compress.stages import Context
from compress.stages import cicr as stage
from compress.steps import Cicr
from compress.workers import HERE
from compress.workers.environment import LOOPBACK
from device.errors import BadInputError
from tests.compress import evaluations, shapes
from tests.compress.enas import children
from tests.compress.test_cicr_stage import STEP

# Ray starts its workers at nice 15, and beside a busy neighbour a task then hardly runs
os.environ.update({"RAY_worker_niceness": "0"})
pytestmark = pytest.mark.timeout(1200)
STORE = 80 * 2**20  # bytes
RATIOS = """kind = "fake-prune"
epochs = 2
controller_steps = 2
samples = 3
batch = 4
finalists = 2
round_to = 1
batches = 2"""
BY_STEPS = """kind = "netadapt"
macs = 0.8
gain = 0.15
round_to = 2
finetune = {epochs = 1, lr = 0.02}"""
STEPS = {"fake-prune": RATIOS, "netadapt": BY_STEPS}
SEEDS = """
name = "shapes"
task = "birds"
[data]
train = ["shapes/train"]
validation = 0.2
batch = 8
description = "coloured discs"
licence = "none"
[model]
kind = "resnet"
depth = 8
width = 8
stride = 2
size = 16
train_size = 16
[baseline]
epochs = 3
lr = 0.05
[[steps]]
kind = "prune"
criterion = "l1"
macs = 0.6
round_to = 4
[gate]
max_drop = 100.0
[measure]
runs = 5
warmup = 1
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cluster")
    shapes.make_folder(root / "shapes")
    whole = shapes.write_recipe(root / "shapes.toml").read_text()
    prune_step = '[[steps]]\nkind = "prune"\ncriterion = "l1"\nmacs = 0.5\n'
    (root / "search.toml").write_text(whole.replace(prune_step, STEP))
    (root / "seeds.toml").write_text(SEEDS)
    return root


@pytest.fixture(scope="module")
def pool(root: Path) -> Iterator[workers.Workers]:
    with workers.start("local", root, cpus=2, store=STORE) as started:
        yield started


def _processes() -> dict[int, int]:
    """Of this machine: number → parent's number."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        found[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    return found


def _descendants(parent: int) -> set[int]:
    parents, found = _processes(), {parent}
    while more := {one for one, other in parents.items() if other in found} - found:
        found |= more
    return found


def _listening(processes: set[int]) -> set[str]:
    """Addresses, as hexadecimal digits, of the sockets on which one of them listens."""
    inodes = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def test_all_sockets_are_on_loopback(pool: workers.Workers) -> None:
    ipv4, mapped = "0100007F", "0000000000000000FFFF00000100007F"
    family = _descendants(os.getpid())
    assert len(family) > 4
    listening = _listening(family)
    assert listening and listening <= {ipv4, mapped}


def test_tasks_give_what_this_process_gives(pool: workers.Workers) -> None:
    assert pool.count == 2
    there, here = (list(each.map(evaluations.learn, range(5))) for each in (pool, HERE))
    for one, other in zip(there, here, strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1:] == other[1:]


def test_an_error_is_raised_as_in_this_process(pool: workers.Workers) -> None:
    results = pool.map(evaluations.fail_at_two, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(BadInputError, match=r"^item 2: not usable$"):
        next(results)


def test_a_shared_value_is_read_by_every_task(pool: workers.Workers) -> None:
    shared = pool.share(torch.arange(1000))
    assert list(pool.map(lambda item: int(shared.get()[item]), (7, 999))) == [7, 999]


def test_a_shared_value_is_unpacked_once_a_process(pool: workers.Workers) -> None:
    shared: workers.Shared[list[int]] = pool.share([])
    seen: dict[int, list[int]] = {}
    for process, count in pool.map(partial(evaluations.mark, shared), range(8)):
        seen.setdefault(process, []).append(count)
    assert os.getpid() not in seen  # they are tasks of the cluster
    for counts in seen.values():
        assert sorted(counts) == list(range(1, len(counts) + 1))
    assert max(map(len, seen.values())) > 1


def _kill_when_stopped(marker: Path, over: threading.Event) -> None:
    while not over.wait(0.05):
        if number := evaluations.number_of(marker):
            os.kill(number, signal.SIGKILL)
            return


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Path]:
    """A file; the process that leaves its number in it is killed."""
    marker, over = tmp_path / "marker", threading.Event()
    thread = threading.Thread(target=_kill_when_stopped, args=(marker, over))
    thread.start()
    yield marker
    over.set()
    thread.join()


def test_a_killed_worker_is_replaced(pool: workers.Workers, killer: Path) -> None:
    work = partial(evaluations.learn_but_stop_once, killer)
    results = list(pool.map(work, range(3)))
    assert evaluations.number_of(killer) not in _processes()
    for one, other in zip(results, HERE.map(evaluations.learn, range(3)), strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1:] == other[1:]


def _context(root: Path, folder: Path, pool: workers.Workers) -> tuple[Context, torch.nn.Module]:
    path = root / "search.toml"
    task = shapes.make_task(root, path)
    torch.manual_seed(0)
    net, teacher = task.build().eval(), task.build().eval()
    return Context(task, 0, task.example(), teacher, folder / "checkpoint.pt", pool), net


def test_a_search_finds_the_same_though_a_worker_is_killed(
    root: Path, tmp_path: Path, pool: workers.Workers, killer: Path
) -> None:
    step = recipe.load(str(root / "search.toml")).steps[0]
    assert isinstance(step, Cicr)
    context, net = _context(root, tmp_path / "ray", pool)
    context.task.__class__ = evaluations.StopsOnce
    context.task.marker, context.task.driver = killer, os.getpid()  # type: ignore[attr-defined]
    there = stage.run(context, net, step)
    assert evaluations.number_of(killer) not in (None, os.getpid())
    context, other = _context(root, tmp_path / "here", HERE)
    here = stage.run(context, other, step)
    assert there.plan == here.plan
    assert len(there.probes) == len(here.probes) == 3
    for one, two in zip(there.probes, here.probes, strict=True):
        assert one.model_copy(update={"seconds": two.seconds}) == two
    state = other.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    made = {path.parent.name for path in (tmp_path / "ray").glob(f"probe-*/{store.RECORD}")}
    assert made >= {
        path.parent.name for path in (tmp_path / "here").glob(f"probe-*/{store.RECORD}")
    }


def _iterations(outcome: stages.Outcome) -> list[Any]:
    found: Any = outcome.structure
    return found.get("iterations", []) if isinstance(found, dict) else []


@pytest.mark.parametrize("kind", ["enas", "fake-prune", "netadapt"])
def test_candidates_are_judged_alike(
    kind: str, root: Path, tmp_path: Path, pool: workers.Workers
) -> None:
    """Searches for cells, for ratios and by steps, by tasks of the cluster and in this process."""
    path = tmp_path / "search.toml"
    if kind == "enas":
        children.write_recipe(path)
        step = recipe.load(str(path)).search
    else:
        shapes.write_recipe(path)
        text = path.read_text().replace('kind = "prune"\ncriterion = "l1"\nmacs = 0.5', STEPS[kind])
        path.write_text(text)
        step = recipe.load(str(path)).steps[0]
    made = []
    for place, where in ((tmp_path / "ray", pool), (tmp_path / "here", HERE)):
        task = shapes.make_task(root, path)
        place.mkdir()
        torch.manual_seed(0)
        net = task.build().eval()
        context = Context(task, 0, task.example(), None, place / "checkpoint.pt", where)
        outcome = stages.STAGES[kind].run(context, net, step)
        for one in _iterations(outcome):
            assert one.pop("seconds") > 0
        made.append((outcome, net.state_dict()))
    (there, state), (here, other) = made
    assert there == here
    assert all(torch.equal(value, other[name]) for name, value in state.items())


def _seeds(root: Path, address: str) -> subprocess.Popen[str]:
    command = ["run", str(root / "seeds.toml"), "--data", str(root), "--out", str(root / "runs")]
    return subprocess.Popen(
        [sys.executable, "-m", "compress", *command, "--seeds", "0,1", "--ray", address],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_several_seeds_go_on_after_the_driver_was_killed(
    root: Path, tmp_path: Path, pool: workers.Workers
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    killed = _seeds(root, address)
    stages = root / "runs" / "seed0" / "stages"
    while not (stages / "00-baseline" / store.KEY).exists() and killed.poll() is None:
        time.sleep(0.05)
    assert killed.poll() is None, killed.communicate()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = _seeds(root, address)
    told, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "seeds 0, 1: mean ± standard deviation" in told

    runs = root / "runs"
    summary = seeds.Summary.model_validate_json((runs / "seeds.json").read_text())
    assert summary.seeds == (0, 1)
    tops = summary.rows[0]
    reports = [json.loads((runs / f"seed{n}" / "report.json").read_text()) for n in (0, 1)]
    assert tops.name == "top1 (validation, TFLite)"
    assert tops.compressed == tuple(r["result"]["quality"]["scores"]["top1"] for r in reports)
    mean = fmean(b - a for a, b in zip(tops.baseline, tops.compressed, strict=True))
    assert fmean(tops.change) == pytest.approx(mean)
    assert f"{mean:+.2f} ± " in told

    loaded = recipe.load(str(root / "seeds.toml"))
    task = seeds.Plan(loaded, root / "seeds.toml", (root,)).task(1)
    torch.manual_seed(1)
    net = task.build()
    train.fit(task, net, loaded.baseline, seed=1, checkpoint=tmp_path / "x.pt", label="here")
    trained = torch.load(runs / "seed1" / "stages" / "00-baseline" / store.STATE, weights_only=True)
    assert all(torch.equal(value, trained[name]) for name, value in net.state_dict().items())


def test_a_folder_that_a_machine_does_not_see_is_refused(
    pool: workers.Workers, tmp_path: Path
) -> None:
    from compress.workers.cluster import OnRay

    assert isinstance(pool, OnRay)
    pool.check(tmp_path)
    with pytest.raises(BadInputError, match=r"missing: 127\.0\.0\.1 of the Ray cluster does not"):
        pool.check(tmp_path / "missing")


def test_a_task_that_fits_no_machine_is_refused(pool: workers.Workers) -> None:
    from compress.workers.cluster import OnRay

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(BadInputError, match="has 3 CPUs"):
            OnRay()
    finally:
        torch.set_num_threads(before)


def test_an_address_where_something_else_answers_is_refused(
    pool: workers.Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says nothing, and one of HTTP/1; a cluster's own address is taken."""
    import ray

    from compress.workers import cluster

    cluster._knock(ray.get_runtime_context().gcs_address)
    web = ThreadingHTTPServer((LOOPBACK, 0), BaseHTTPRequestHandler)
    serving = threading.Thread(target=web.serve_forever, daemon=True)
    serving.start()
    try:
        with socket.create_server((LOOPBACK, 0)) as silent:
            for port, reason, patience in (
                (web.server_port, "something else does", cluster.CONNECT),
                (silent.getsockname()[1], "timed out", 0.2),
            ):
                monkeypatch.setattr(cluster, "CONNECT", patience)
                said = rf"no Ray cluster answers there \({reason}\)"
                with (
                    pytest.raises(BadInputError, match=said),
                    workers.start(f"{LOOPBACK}:{port}", tmp_path),
                ):
                    pass
    finally:
        web.shutdown()
        web.server_close()
        serving.join()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("127.0.0.1:70000", "not HOST:PORT"),
        ("127.0.0.1:0", "not HOST:PORT"),
        (":6379", "not HOST:PORT"),
        ("nowhere", "not HOST:PORT"),
        ("ray://", "not HOST:PORT"),
    ],
)
def test_an_address_where_nobody_answers_is_refused(
    pool: workers.Workers, tmp_path: Path, address: str, said: str
) -> None:
    with (
        pytest.raises(BadInputError, match=said),
        workers.start(address, tmp_path / "out"),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_no_cluster_of_this_machine_is_told_in_our_words(
    pool: workers.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.workers import cluster

    def none(*_: object, **__: object) -> None:
        raise ConnectionError("set the `--address` flag")

    monkeypatch.setattr(cluster.ray, "init", none)
    with pytest.raises(BadInputError, match=r"^--ray auto: .* start one \(ray start --head\)"):
        cluster.connect("auto", None, None)
    monkeypatch.setattr(cluster, "_knock", lambda _: None)
    with pytest.raises(BadInputError, match=r"^--ray 10\.0\.0\.1:6379: set the"):
        cluster.connect("10.0.0.1:6379", None, None)
