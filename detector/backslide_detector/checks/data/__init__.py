"""What the network is fed."""
