"""The judging side: find, read, judge, record, act."""
