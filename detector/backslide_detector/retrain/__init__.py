"""From the evidence of two runs to a verdict: better, worse, the same or unknown, and why."""
