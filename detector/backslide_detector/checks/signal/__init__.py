"""What becomes of activations and gradients on their way through the network."""
