"""Serves MLflow with an embedded default, and starts the detector beside it."""
