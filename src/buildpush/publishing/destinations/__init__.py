"""Where an image goes: repositories filled, tags judged and put, outcomes told, failures kept."""
