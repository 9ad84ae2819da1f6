"""The job itself."""
