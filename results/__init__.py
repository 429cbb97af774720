"""What is kept of a study, and every question asked of it."""
