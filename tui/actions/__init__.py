"""What the keys do, by what they do it to."""
