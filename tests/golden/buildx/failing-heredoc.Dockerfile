FROM registry.test/bb
RUN <<EOF
echo one
echo two >&2
exit 3
EOF
