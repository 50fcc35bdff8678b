"""Images from many sources, written once in one format, read memory-mapped."""
