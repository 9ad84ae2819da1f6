"""The training side of backslide: measure, spool, ship."""
