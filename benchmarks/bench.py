"""Everything that `make bench` measures; each part writes its own page beside its script."""

from benchmarks import detector, overhead

if __name__ == "__main__":
    overhead.main()
    detector.main()
