"""How often planted changes inside networks are found, and healthy retrains left alone."""
