"""What layers do on fixed examples, told such that retrains compare without the model."""
