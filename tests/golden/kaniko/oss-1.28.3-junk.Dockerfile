FROM registry.example:5000/base:1
RUN printf 'a\000b\377\033[31mred\n'; printf '1%%\r2%%\r3%%\n' >&2; head -c 300 /bin/busybox | tr '\n' ' ' | head -c 200; exit 1
