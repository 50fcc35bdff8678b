"""What happens, in which order: one thin script a stage, and what they share."""
