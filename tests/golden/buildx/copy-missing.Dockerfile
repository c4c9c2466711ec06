FROM registry.test/bb
COPY nothere.txt /x
