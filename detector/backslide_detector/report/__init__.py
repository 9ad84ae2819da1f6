"""Says it: sentences, the note, the machine-readable document, the page with the pictures."""
