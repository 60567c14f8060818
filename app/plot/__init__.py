"""Pictures of reports over time, and reports as a table."""
