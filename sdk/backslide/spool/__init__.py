"""Durable, bounded record keeping between the training loop and the shipper."""
