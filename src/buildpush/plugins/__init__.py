"""What the Drone plugins do around a build: a run from their environment to their files."""
