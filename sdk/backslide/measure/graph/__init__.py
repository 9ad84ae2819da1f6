"""The network as it ran: what was called, and what flowed where."""
