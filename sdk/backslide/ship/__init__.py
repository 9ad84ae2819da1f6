"""Spool -> MLflow, exactly once, in a process of its own."""
