FROM registry.example:5000/base:1
FROM registry.example:5000/nosuch:1
RUN true
