"""What watching costs, beside what others cost and beside a single read of the tensors."""
