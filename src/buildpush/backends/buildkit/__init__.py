"""BuildKit's client, as buildx and the docker CLI have it: what to ask it, and what it answers.

`argv` says what to start, `rawjson` and `plain` turn its output into events, `failures` says what
went wrong, `features` what a BuildKit can do. All of it is pure.
"""

from __future__ import annotations
