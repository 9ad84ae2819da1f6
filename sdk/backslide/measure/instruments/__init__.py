"""What is measured inside a network, one file each."""
