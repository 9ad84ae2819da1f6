"""One test, one file: statistic, p-value, effect, interval, n and method; never a verdict."""
