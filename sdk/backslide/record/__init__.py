"""What a run says about its data, its results, its code and its numbers."""
