"""Everything that `make bench` measures; each part writes its own page beside its script."""

from benchmarks import detector, guest, probe
from benchmarks.overhead import __main__ as overhead

if __name__ == "__main__":
    overhead.main()
    guest.main()
    probe.main()
    detector.main()
