"""The table of snapshots: records in the changelog, and their local copy."""
