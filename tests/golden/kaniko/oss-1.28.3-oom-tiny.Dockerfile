FROM registry.example:5000/base:1
RUN echo begin; head -c 20000000 /dev/urandom > /f
RUN true
