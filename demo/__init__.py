"""The story that `make demo` tells: one lineage of real models, judged as it grows."""
