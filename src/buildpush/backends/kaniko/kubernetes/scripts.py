"""What runs in the container that gets the context: wait, receive, copy; POSIX shell, for busybox."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ARRIVED",
    "BROKEN",
    "COPY",
    "FAILED",
    "HELD",
    "OWN",
    "RECEIVE",
    "TAKE_OVER",
    "WAIT",
    "WORK",
]

FAILED: Final = "buildpush: not unpacked"
"""What a receiving says on stderr as soon as there is no sense in sending more."""
BROKEN: Final = 75
"""The exit code of a receiving whose stream broke off: sysexits' EX_TEMPFAIL."""

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
rm -rf context incoming whole sum && mkdir context && mkfifo incoming || exit 1
owner=
[ "$(id -u)" = 0 ] || owner=-o
unpack() {{
  tar "-x$1" $owner -p -f - -C context && cat > /dev/null && return
  echo "{FAILED}" >&2
  cat > /dev/null
  return 1
}}
unpack "$1" < incoming &
unpacking=$!
while read -r size; do
  if [ "$size" = 0 ]; then : > whole; break; fi
  dd bs="$size" count=1 iflag=fullblock 2> /dev/null || break
done | tee incoming | sha256sum > sum
wait $unpacking || exit 1
if [ ! -e whole ]; then echo "the stream broke off" >&2; exit {BROKEN}; fi
cat sum && rm -f incoming whole sum feeder
"""
"""Unpack a tar from stdin, in pieces that each come after their size, and print its digest.

A size of 0 is the end: older servers never tell a command that its stdin has ended, and where
they do, a connection that broke off looks the same. ``dd`` reads no byte more than its piece,
unlike ``head``. ``$1`` is ``z`` where the tar is packed. What an attempt before has left is
removed. An unpacking that fails says so at once, for the sender to stop: a server tells nobody
how a command ended as long as that has stdin left to read, so the rest is read here in any case.
"""

ARRIVED: Final = f": > {WORK}/arrived"
"""Let the waiting end."""

OWN: Final = "/buildpush-own"
HELD: Final = "/buildpush-secret"
TAKE_OVER: Final = f"""\
umask 077
cd {HELD} && for name in *; do cp -RL "$name" {OWN}/ || exit 1; done
umask 022
"""
"""Make the private files the user's own.

Those of a Secret belong to root, and kaniko opens files with ``O_NOATIME``, which only their
owner may.
"""

COPY: Final = f"mkdir -p {WORK}/context && cp -a /context/. {WORK}/context/"
"""Copy the context out of an image that brings it."""
