"""The job store: the truth about jobs, and the only one that touches the database."""
