"""What happens inside the network, as small summaries on a budget of time."""
