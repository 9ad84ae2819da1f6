"""What loss and error do over time."""
