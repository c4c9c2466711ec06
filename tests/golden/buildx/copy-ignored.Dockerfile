FROM registry.test/bb
COPY a.txt b.txt /x/
