"""The spool keeps what it accepted, whatever happens to the process or the disk."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backslide.spool.frames import HEADER, MAGIC, Kind, frame, parse
from backslide.spool.segments import Spool, read, segment_path, segments

PAYLOADS = st.binary(max_size=300) | st.builds(
    lambda head, tail: head + MAGIC + tail, st.binary(max_size=40), st.binary(max_size=40)
)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A real full disk, as far as one file goes: writes are cut short, then refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class SpoolMachine(RuleBasedStateMachine):
    """Writes, rotations, crashes, torn tails, flipped bits and full disks, in any order.

    The model: for each segment the accepted payloads and the byte ranges they lie in.
    """

    @initialize()
    def start(self) -> None:
        self.home = TemporaryDirectory()
        self.folder = Path(self.home.name)
        self.spool = Spool(self.folder)
        self.model: dict[int, list[tuple[int, int, bytes]]] = {}
        self.flipped: set[int] = set()  # a second flip might heal the first

    def newest(self) -> int:
        return segments(self.folder)[-1]

    def accept(self, payload: bytes) -> None:
        number = self.newest()
        end = segment_path(self.folder, number).stat().st_size
        size = HEADER.size + len(payload)
        self.model.setdefault(number, []).append((end - size, end, payload))

    @rule(payload=PAYLOADS)
    def write(self, payload: bytes) -> None:
        assert self.spool.append(Kind.SCALARS, payload)
        self.accept(payload)

    @rule(payload=PAYLOADS, room=st.integers(0, 300))
    def write_on_a_full_disk(self, payload: bytes, room: int) -> None:
        size = segment_path(self.folder, self.newest()).stat().st_size
        with file_size_limit(size + room):
            accepted = self.spool.append(Kind.SCALARS, payload)
        assert accepted == (HEADER.size + len(payload) <= room)
        if accepted:
            self.accept(payload)

    @rule()
    def rotate(self) -> None:
        self.spool.rotate()

    @rule()
    def sync(self) -> None:
        self.spool.sync()

    @rule()
    def crash(self) -> None:
        """kill -9: nothing is closed or flushed; the next writer takes a segment of its own."""
        self.spool.abandon()
        self.spool = Spool(self.folder)

    @precondition(lambda self: self.model)
    @rule(cut=st.integers(1, 400))
    def power_cut_tears_the_tail(self, cut: int) -> None:
        self.spool.abandon()
        path = segment_path(self.folder, self.newest())
        size = max(0, path.stat().st_size - cut)
        os.truncate(path, size)
        kept = [entry for entry in self.model.get(self.newest(), []) if entry[1] <= size]
        self.model[self.newest()] = kept
        self.spool = Spool(self.folder)

    @precondition(lambda self: any(n < self.newest() for n in self.model))
    @rule(data=st.data())
    def flip_a_bit(self, data: st.DataObject) -> None:
        closed = [n for n in self.model if n < self.newest() and self.model[n]]
        whole = sorted(set(closed) - self.flipped)
        if not whole:
            return
        number = data.draw(st.sampled_from(whole))
        self.flipped.add(number)
        path = segment_path(self.folder, number)
        content = bytearray(path.read_bytes())
        bit = data.draw(st.integers(0, len(content) * 8 - 1))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        self.model[number] = [
            entry for entry in self.model[number] if not entry[0] <= bit // 8 < entry[1]
        ]

    @invariant()
    def all_that_was_accepted_is_read_and_nothing_else(self) -> None:
        if not hasattr(self, "spool"):
            return
        newest = self.newest()
        for number in segments(self.folder):
            reading = read(segment_path(self.folder, number), 0, closed=number < newest)
            expected = [payload for _, _, payload in self.model.get(number, [])]
            assert [record.payload for record in reading.records] == expected

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
            self.home.cleanup()


SpoolMachine.TestCase.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None
)
TestSpool = SpoolMachine.TestCase


def test_an_unfinished_tail_is_waited_for_and_then_cut():
    whole, torn = frame(1, b"whole"), frame(1, b"torn")[:-1]
    live = parse(whole + torn, closed=False)
    dead = parse(whole + torn, closed=True)
    assert [r.payload for r in live.records] == [r.payload for r in dead.records] == [b"whole"]
    assert (live.end, live.damaged) == (len(whole), ())
    assert (dead.end, dead.damaged) == (len(whole + torn), ((len(whole), len(whole + torn)),))


def test_a_damaged_length_costs_one_record():
    damaged = bytearray(frame(1, b"b" * 50))
    damaged[3] = 0xFF  # the length now reaches far beyond the file
    reading = parse(frame(1, b"a") + bytes(damaged) + frame(1, b"c"), closed=True)
    assert [record.payload for record in reading.records] == [b"a", b"c"]
    assert len(reading.damaged) == 1


def test_snapshots_are_given_up_before_scalars(tmp_path):
    spool = Spool(tmp_path, limit=10_000)
    snapshot, scalar = bytes(1_000), bytes(100)
    kept = sum(spool.append(Kind.SNAPSHOT, snapshot, droppable=True) for _ in range(20))
    assert kept == 7  # of 1,011 bytes each, in three quarters of 10,000
    assert all(spool.append(Kind.SCALARS, scalar) for _ in range(100))
    assert spool.dropped == {"the spool is full": 13}
    spool.close()


def test_a_closed_spool_takes_nothing_and_says_so(tmp_path):
    spool = Spool(tmp_path)
    spool.close()
    assert not spool.append(Kind.SCALARS, b"late")
    assert sum(spool.dropped.values()) == 1


def test_segments_close_by_age_and_by_size(tmp_path, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr("backslide.spool.segments.time.monotonic", lambda: now[0])
    spool = Spool(tmp_path)

    def segments_after(seconds: float) -> int:
        spool.append(Kind.SCALARS, b"x")
        now[0] += seconds
        spool.rotate_if_due()
        return len(segments(tmp_path))

    assert segments_after(4.9) == 1
    assert segments_after(0.1) == 2
    now[0] += 995.0  # the run is 1,000 s old: a segment may live 50 s
    assert segments_after(0.0) == 3
    assert segments_after(49.0) == 3
    assert segments_after(4.0) == 4
    spool.append(Kind.SCALARS, bytes(8 << 20))
    assert segments_after(0.0) == 5
    spool.close()


@pytest.mark.parametrize(("age", "parts"), [(3_600, 100), (86_400, 250), (7 * 86_400, 650)])
def test_a_long_run_makes_hundreds_of_parts_at_most(tmp_path, monkeypatch, age, parts):
    now = [0.0]
    monkeypatch.setattr("backslide.spool.segments.time.monotonic", lambda: now[0])
    spool = Spool(tmp_path)
    while now[0] < age:
        spool.append(Kind.SCALARS, b"x")
        now[0] += max(1.0, now[0] / 200)
        spool.rotate_if_due()
    assert len(segments(tmp_path)) < parts
    spool.close()


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from backslide.spool.frames import Kind
from backslide.spool.segments import Spool, read, segment_path, segments
folder = Path(sys.argv[1])
spool = Spool(folder)
accepted = sum(spool.append(Kind.SCALARS, bytes(80)) for _ in range(5000))
spool.make_room()
assert spool.append(Kind.END, b"the last words")
spool.close()
kinds = [
    record.kind
    for number in segments(folder)
    for record in read(segment_path(folder, number), 0, closed=True).records
]
assert 0 < accepted < 5000
assert kinds == [Kind.SCALARS] * accepted + [Kind.END]
assert sum(spool.dropped.values()) == 5000 - accepted
"""


def test_on_a_full_file_system_accepted_is_what_can_be_read(tmp_path):
    """A real ENOSPC, on a file system of 128 kB; the reserve keeps room for the last words."""
    mount = 'mount -t tmpfs -o size=128k none "$2" && exec "$0" -c "$1" "$2"'
    isolated = ["unshare", "--mount", "sh", "-c", mount]
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "true"], check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    done = subprocess.run(
        [*isolated, sys.executable, ON_A_SMALL_DISK, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
