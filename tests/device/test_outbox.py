"""The outbox keeps what it is given, in order, within its bounds, whatever the disk does."""

import json
import logging
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device import config, outbox
from device.errors import BadInputError
from device.outbox import Outbox

LIMITS = config.Outbox()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


def payloads(box: Outbox) -> list[bytes]:
    return [row.payload for row in box.after(0, 10**6)]


def test_messages_survive_closing_in_order_with_their_time(path: Path) -> None:
    now = 1.7e9
    box = Outbox(path, LIMITS, lambda: now)
    for number in range(5):
        assert box.put("a/b", b"%d" % number, session="s1")
        now += 1
    box.close()
    box = Outbox(path, LIMITS, lambda: now)
    rows = box.after(0, 100)
    assert [row.payload for row in rows] == [b"0", b"1", b"2", b"3", b"4"]
    assert [row.created for row in rows] == [0, 1, 2, 3, 4]
    assert {(row.topic, row.session) for row in rows} == {("a/b", "s1")}
    assert (len(box), box.size) == (5, 5 * 4)


def test_delivered_messages_are_gone_and_counted(path: Path) -> None:
    box = Outbox(path, LIMITS)
    for number in range(3):
        box.put("t", b"%d" % number)
    first = box.after(0, 1)[0]
    assert box.delete([first.id, 999])
    assert payloads(box) == [b"1", b"2"]
    assert box.counters.delivered == 1


@pytest.mark.parametrize(
    "limits",
    [config.Outbox(max_rows=3), config.Outbox(max_bytes=3 * (len("t") + 100))],
    ids=["rows", "bytes"],
)
def test_the_oldest_go_first_and_are_counted(path: Path, limits: config.Outbox) -> None:
    box = Outbox(path, limits)
    for number in range(5):
        box.put("t", bytes([number]) * 100)
    assert [payload[0] for payload in payloads(box)] == [2, 3, 4]
    assert box.counters.dropped == 2


def test_messages_do_not_outlive_their_age(path: Path) -> None:
    now = 0.0
    box = Outbox(path, config.Outbox(max_age=60), lambda: now)
    box.put("t", b"old")
    now = 50
    box.put("t", b"young")
    now = 61
    assert payloads(box) == [b"young"]
    assert box.counters.dropped == 1


CLOCKS = """
import sys, time
from pathlib import Path
real, off = time.time, float(sys.argv[2])
time.time = lambda: real() + off
from device import config
from device.outbox import Outbox

DAYS = 86_400
box = Outbox(Path(sys.argv[1]), config.Outbox())
print(*(row.payload.decode() for row in box.after(0, 16)))
box.put("t", sys.argv[3].encode())
for off in map(float, sys.argv[4:]):  # the clock is set
    box.put("t", b"later")
print(*(row.payload.decode() for row in box.after(0, 16)), box.counters.dropped)
"""


def test_a_clock_that_is_set_makes_nothing_old(path: Path) -> None:
    month = 40 * 86_400

    def run(*arguments: object) -> list[str]:
        command = [sys.executable, "-c", CLOCKS, str(path), *map(str, arguments)]
        return subprocess.check_output(command, text=True, cwd=ROOT).splitlines()

    assert run(-month, "first", 0, month) == ["", "first later later 0"]
    assert run(0, "second") == ["first later later", "first later later second 0"]
    assert run(month, "third", -month)[1] == "first later later second third later 0"


def test_age_goes_on_where_the_last_run_left_it(path: Path) -> None:
    limits, now = config.Outbox(max_age=60), 1000.0
    box = Outbox(path, limits, lambda: now)
    box.put("t", b"old")
    now += 50
    box.put("t", b"young")
    box.close()
    now = 5.0  # another boot
    box = Outbox(path, limits, lambda: now)
    now += 9
    assert payloads(box) == [b"old", b"young"]
    now += 2
    assert payloads(box) == [b"young"]


def test_trouble_is_one_line_not_one_per_message(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Outbox(path, config.Outbox(max_rows=1))
    for number in range(50):
        box.put("t", b"%d" % number)
    assert box.counters.dropped == 49
    assert len(caplog.records) == 1


def test_two_processes_cannot_share_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LOCK_TIMEOUT", 0.1)
    box = Outbox(path, LIMITS)
    with pytest.raises(BadInputError, match=r"cannot open the outbox: database is locked"):
        Outbox(path, LIMITS)
    assert box.put("t", b"x")


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot open the outbox"):
        Outbox(tmp_path / "file" / "outbox.db", LIMITS)


def test_a_corrupt_file_is_moved_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this was never a database" * 100)
    box = Outbox(path, LIMITS)
    assert box.put("t", b"x")
    assert payloads(box) == [b"x"]
    assert box.counters.corrupt == 1
    assert path.with_name("outbox.db.corrupt").read_bytes().startswith(b"this was never")
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


def test_damage_that_only_a_check_finds_is_found(path: Path) -> None:
    box = Outbox(path, LIMITS)
    for _ in range(20):  # long ones, whose pages nobody reads to count them
        box.put("t", bytes(20_000))
    box.close()
    with path.open("r+b") as content:  # a page in the middle; the header stays good
        content.seek(path.stat().st_size // 2 // 4096 * 4096)
        content.write(b"\xff" * 4096)
    box = Outbox(path, LIMITS)
    assert box.counters.corrupt == 1
    assert box.put("t", b"x") and payloads(box) == [b"x"]


def test_damage_while_running_is_survived(path: Path) -> None:
    box = Outbox(path, LIMITS)
    for _ in range(4000):  # more than SQLite keeps in memory, so that it must read again
        box.put("t", b"x" * 2000)
    last = box.after(0, 10**6)[-1].id
    with path.open("r+b") as content:
        content.write(b"\xff" * path.stat().st_size)
    for _ in range(3):  # the first that meets the damage begins anew
        box.after(0, 10)
        box.put("t", b"after")
    assert box.counters.corrupt == 1
    assert set(payloads(box)) == {b"after"}
    assert box.after(last, 10), "whoever has read up to the last id must not miss the new ones"


FULL = """
import json, resource, sys
from pathlib import Path
from device import config
from device.outbox import Outbox

box = Outbox(Path(sys.argv[1]), config.Outbox())
size = 400_000
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
stored = [box.put("t", bytes(1000)) for _ in range(600)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
again = box.put("t", b"again")
print(json.dumps([sum(stored), stored[0], stored[-1], again, len(box), box.counters.lost]))
"""


def test_a_full_disk_is_counted_and_survived(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    stored, first, last, again, waiting, lost = json.loads(done.stdout)
    assert first and not last and again
    assert waiting == stored + 1
    assert lost == 600 - stored > 0
    box = Outbox(path, LIMITS)
    assert len(box) == waiting
    assert box.counters.corrupt == 0


def test_any_thread_may_put(path: Path) -> None:
    box = Outbox(path, LIMITS)

    def work(name: int) -> None:
        for number in range(100):
            assert box.put("t", b"%d %d" % (name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = [tuple(map(int, payload.split())) for payload in payloads(box)]
    assert len(pairs) == len(box) == 400
    for name in range(4):
        assert [number for who, number in pairs if who == name] == list(range(100))


class Model(RuleBasedStateMachine):
    """The outbox against a plain list."""

    ROWS, BYTES, AGE = 6, 60, 100.0

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now = 0  # on the outbox's clock
        self.monotonic = 7  # whole seconds, so that sums are exact
        self.rows: list[tuple[bytes, int]] = []
        self.open()

    def open(self) -> None:
        limits = config.Outbox(max_rows=self.ROWS, max_bytes=self.BYTES, max_age=self.AGE)
        self.box = Outbox(Path(self.folder.name) / "o.db", limits, lambda: self.monotonic)

    def trim(self) -> None:
        while self.rows and (
            len(self.rows) > self.ROWS
            or sum(1 + len(payload) for payload, _ in self.rows) > self.BYTES
            or self.rows[0][1] < self.now - self.AGE
        ):
            self.rows.pop(0)

    @rule(payload=st.binary(max_size=80))
    def put(self, payload: bytes) -> None:
        assert self.box.put("t", payload)
        self.rows.append((payload, self.now))
        self.trim()

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        found = self.box.after(0, 100)
        self.trim()
        chosen = data.draw(st.sets(st.sampled_from(range(len(found))))) if found else set()
        assert self.box.delete([found[index].id for index in chosen])
        self.rows = [row for index, row in enumerate(self.rows) if index not in chosen]

    @rule(seconds=st.integers(0, 200))
    def clock(self, seconds: int) -> None:
        self.now += seconds
        self.monotonic += seconds

    @rule(monotonic=st.integers(0, 1000))
    def reopen(self, monotonic: int) -> None:
        self.box.close()
        self.monotonic = monotonic
        self.now = self.rows[-1][1] if self.rows else 0
        self.open()

    @rule(limit=st.integers(1, 4))
    def read_in_pieces(self, limit: int) -> None:
        self.trim()
        seen, cursor = [], 0
        while piece := self.box.after(cursor, limit):
            seen += [(row.payload, row.created) for row in piece]
            cursor = piece[-1].id
        assert seen == self.rows

    @precondition(lambda self: hasattr(self, "box"))
    @invariant()
    def sizes(self) -> None:
        assert len(self.box) == len(self.rows)
        assert self.box.size == sum(1 + len(payload) for payload, _ in self.rows)

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.box.close()
            self.folder.cleanup()


TestAgainstAList = Model.TestCase
TestAgainstAList.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
