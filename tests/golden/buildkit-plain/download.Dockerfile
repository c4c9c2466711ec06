FROM registry.test/large
COPY a.txt /
