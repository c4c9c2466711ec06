FROM registry.example:5000/base:1
RUN true
COPY a.txt /
COPY nothere /x
