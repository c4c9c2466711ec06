"""Asking servers: one HTTP client per run, whom it believes, and what may be said of an answer.

Importing this package does not import httpx; importing `buildpush.http.transport` does.
"""
