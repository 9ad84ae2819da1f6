"""Everything that `make bench` measures; each part writes its own page beside its script."""

from benchmarks import detector, guest, overhead

if __name__ == "__main__":
    overhead.main()
    guest.main()
    detector.main()
