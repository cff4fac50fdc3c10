"""Evaluations as tasks of a Ray cluster: one of its own on this machine, or one that is running.

A task gets what this process computes with: as many threads as torch uses here and, where a GPU
is used here, one GPU. Sums of two threads differ from those of one in the last digit; with the
same threads, libraries and kind of processor, results are the same as in this process.

A task whose worker process or machine died is started again, at most RETRIES times; a function
that stores what it has done (compress/store.py) goes on from there. When this process dies, Ray
ends its tasks.

What travels between processes is serialised by Ray, in flight and in shared memory. It writes to
disk, in the session's folder, only what does not fit its object store.

Import it after `compress.workers.environment.prepare`: Ray reads its settings when imported.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from compress.workers.base import Item, Result, Shared, Value, call
from compress.workers.environment import LOCAL, LOOPBACK, RUNNING
from device.errors import BadInputError, FieldwrenError

RETRIES = 3
READ = 8  # shared values that a worker process keeps
PORTS = 65_535
CONNECT = 5.0  # seconds for the first connection to a cluster's address, and for its answer
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS = 4  # kind, in the fourth byte, of the frame a server of HTTP/2, so of gRPC, answers with


@dataclass(frozen=True)
class InStore(Generic[Value]):
    """A value in the cluster's object store, once on every machine that reads it."""

    reference: Any  # ray.ObjectRef of Value

    def get(self) -> Value:
        value: Value = _read(self.reference)
        return value


class OnRay:
    """Workers (compress/workers/base.py) on the cluster this process is connected to.

    Raises:
        BadInputError: no machine of the cluster has room for a task.
    """

    def __init__(self) -> None:
        self._threads, self._gpus = torch.get_num_threads(), int(torch.cuda.is_available())
        self.count = sum(self._room(node["Resources"]) for node in _alive())
        if not self.count:
            raise BadInputError(
                f"no machine of the Ray cluster has {self._threads} CPUs and {self._gpus} GPUs, "
                "which are used here and so by every task: set OMP_NUM_THREADS"
            )
        self._task: Any = ray.remote(_evaluate).options(
            num_cpus=self._threads, num_gpus=self._gpus, max_retries=RETRIES
        )

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return self._results(function, tuple(items))

    def share(self, value: Value) -> Shared[Value]:
        return InStore(ray.put(value))

    def check(self, folder: Path) -> None:
        """Every machine must see `folder`, where tasks store their results.

        Raises:
            BadInputError: one does not.
        """
        folder = folder.resolve()
        sees: Any = ray.remote(Path.is_dir)
        for node in _alive():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = sees.options(num_cpus=0, scheduling_strategy=there)
            if not ray.get(task.remote(folder)):
                raise BadInputError(
                    f"{folder}: {node['NodeManagerAddress']} of the Ray cluster does not see it: "
                    "results go to a filesystem that all machines share"
                )

    def _results(
        self, function: Callable[[Item], Result], items: tuple[Item, ...]
    ) -> Iterator[Result]:
        common = ray.put(function)
        waiting = list(enumerate(items))[::-1]
        running: dict[Any, int] = {}
        finished: dict[int, Any] = {}
        try:
            for index in range(len(items)):
                while index not in finished:
                    while waiting and len(running) < self.count:
                        number, item = waiting.pop()
                        running[self._task.remote(common, item, self._threads)] = number
                    for reference in ray.wait(list(running))[0]:
                        finished[running.pop(reference)] = reference
                yield _fetch(finished.pop(index))
        finally:
            if ray.is_initialized():
                for reference in running:
                    ray.cancel(reference, force=True)

    def _room(self, resources: dict[str, float]) -> int:
        rooms = [resources.get("CPU", 0) // self._threads]
        if self._gpus:
            rooms.append(resources.get("GPU", 0) // self._gpus)
        return int(min(rooms))


def connect(address: str, cpus: int | None, store: int | None) -> OnRay:
    """Start a cluster on this machine (LOCAL; `cpus` and `store` bytes limit it) or join one.

    Raises:
        BadInputError: nothing answers at the address, or no task fits a machine.
        FieldwrenError: a cluster of our own does not start, or would be open to other machines.
    """
    if address == LOCAL:
        _start(cpus, store)
    else:
        if address != RUNNING:
            _knock(address)
        try:
            ray.init(address, logging_level=logging.ERROR)
        except ConnectionError as error:
            if address != RUNNING:
                raise BadInputError(f"--ray {address}: {error}") from error
            raise BadInputError(  # Ray would name options of its own
                f"--ray {address}: this machine belongs to no Ray cluster that runs: start one "
                f"(ray start --head), give HOST:PORT of another, or {LOCAL}"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise BadInputError(f"--ray {address}: {error}") from error
    return OnRay()


def disconnect() -> None:
    """Leave the cluster; one of our own ends."""
    ray.shutdown()


def _start(cpus: int | None, store: int | None) -> None:
    try:
        ray.init(
            LOCAL,
            num_cpus=cpus,
            object_store_memory=store,
            include_dashboard=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises nothing narrower
        raise FieldwrenError(f"--ray local: Ray does not start: {error}") from error
    addresses = {node["NodeManagerAddress"] for node in _alive()}
    if addresses != {LOOPBACK}:
        ray.shutdown()
        raise FieldwrenError(f"--ray local: Ray listens on {addresses}: it was imported too early")


def _knock(address: str) -> None:
    """Ray ends the whole process, or waits, where it finds no cluster; ask first."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) <= PORTS):
        raise BadInputError(
            f"--ray {address}: that is not HOST:PORT of a Ray cluster (ray start --head), "
            f"{RUNNING} for the one this machine belongs to, or {LOCAL}"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "1":  # else it would not answer in plain
                connection.sendall(HELLO)
                with connection.makefile("rb") as answer:
                    if answer.read(4)[3:] != bytes((SETTINGS,)):
                        raise ConnectionError("something else does")
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"--ray {address}: no Ray cluster answers there ({error}): give HOST:PORT of one "
            f"(ray start --head), {RUNNING} for the one this machine belongs to, or {LOCAL}"
        ) from error


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


@lru_cache(READ)
def _read(reference: Any) -> Any:
    """Unpacked once in every process, not once a task: a data set takes longer than a candidate."""
    return ray.get(reference)


def _evaluate(function: Callable[[Item], Result], item: Item, threads: int) -> Result:
    """The body of a task."""
    torch.set_num_threads(threads)
    return call(function, item)


def _fetch(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error  # what the function raised, as in this process
    except ray.exceptions.RayError as error:
        first = str(error).strip().splitlines()[0]
        raise FieldwrenError(
            f"a task was lost {RETRIES + 1} times ({type(error).__name__}: {first}): see Ray's "
            "logs; more memory, or fewer CPUs to share it, may help"
        ) from error
