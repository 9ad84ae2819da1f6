"""What changed inside a network between two runs, from their summaries alone: no verdicts."""
