"""Failed jobs, grouped by what made them fail."""
