"""How the optimizer moves the weights, and from where."""
