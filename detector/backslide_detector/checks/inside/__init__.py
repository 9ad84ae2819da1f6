"""What changed inside since the predecessor, from summaries of both."""
