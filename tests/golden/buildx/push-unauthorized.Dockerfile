FROM registry.test/bb
COPY a.txt /
