"""What the statistics promise, measured by simulating the functions that the detector calls."""
