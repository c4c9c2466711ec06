"""Keys of AWS: where they come from, and how its services are asked with them."""
