"""Access tokens of Google Cloud: where they come from, and how its services are asked for them."""
