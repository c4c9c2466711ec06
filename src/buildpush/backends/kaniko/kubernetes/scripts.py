"""What runs in the container that gets the context: wait, receive, copy; POSIX shell, for busybox."""

from __future__ import annotations

from typing import Final

__all__ = ["ARRIVED", "COPY", "RECEIVE", "WAIT", "WORK"]

WORK: Final = "/buildpush"
"""Where the volume that is shared with kaniko's container lies in the one that fills it."""

WAIT: Final = f"""\
trap 'exit 143' TERM INT
cd {WORK} || exit 1
waited=0
while [ ! -e arrived ]; do
  if [ -e feeder ] && read -r pid < feeder && kill -0 "$pid" 2> /dev/null; then waited=0; fi
  if [ "$waited" -ge "$1" ]; then echo "nobody has sent the build context" >&2; exit 1; fi
  waited=$((waited + 1))
  sleep 0.2 2> /dev/null || sleep 1
done
"""
"""Wait until the context has arrived, ``$1`` times a fifth of a second while nobody sends it."""

RECEIVE: Final = f"""\
umask 022
cd {WORK} || exit 1
if [ -e feeder ] && read -r pid < feeder; then kill "$pid" 2> /dev/null; fi
echo $$ > feeder
rm -rf context incoming sum && mkdir context && mkfifo incoming || exit 1
owner=
[ "$(id -u)" = 0 ] || owner=-o
{{ tar "-x$1" $owner -p -f - -C context && cat > /dev/null || kill $$; }} < incoming &
unpacking=$!
if [ -n "$2" ]; then head -c "$2"; else cat; fi | tee incoming | sha256sum > sum
wait $unpacking || exit 1
cat sum && rm -f incoming sum feeder
"""
"""Unpack a tar from stdin and print its digest; ``$1`` is ``z`` where it is packed.

``$2`` is its size where its end cannot be told, empty where it can. What an attempt before has
left is removed. The unpacking that fails ends the receiving, so that nothing more is sent.
"""

ARRIVED: Final = f": > {WORK}/arrived"
"""Let the waiting end."""

COPY: Final = f"mkdir -p {WORK}/context && cp -a /context/. {WORK}/context/"
"""Copy the context out of an image that brings it."""
