"""What the commands do: one file each, imported when the command runs."""
