"""What kaniko's executor writes: events while it runs, and what its failures mean."""
