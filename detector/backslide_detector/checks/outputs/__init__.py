"""What the network answers."""
