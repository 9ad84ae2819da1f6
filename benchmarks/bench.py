"""Everything that `make bench` measures; each part writes its own page beside its script."""

from benchmarks import detector, guest, shipping
from benchmarks.overhead import __main__ as overhead
from benchmarks.probe import __main__ as probe

if __name__ == "__main__":
    overhead.main()
    guest.main()
    shipping.main()
    probe.main()
    detector.main()
