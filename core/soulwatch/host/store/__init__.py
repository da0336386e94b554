"""What the host remembers. Rooms of plain functions over one transaction, so that callers say what is atomic."""
