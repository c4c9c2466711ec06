"""The `<+…>` expressions of Harness: read, resolved, evaluated."""
