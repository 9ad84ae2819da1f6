"""How often the small-data test is right, on faults that were planted."""
