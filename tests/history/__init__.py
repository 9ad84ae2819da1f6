"""A history check in the style of Jepsen: what was acknowledged is stored, whoever dies."""
