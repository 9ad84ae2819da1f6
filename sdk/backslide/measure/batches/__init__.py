"""What the network is fed, and what it answers."""
