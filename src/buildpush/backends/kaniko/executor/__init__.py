"""What kaniko's executor is, what it is told, and what it is not asked for."""
