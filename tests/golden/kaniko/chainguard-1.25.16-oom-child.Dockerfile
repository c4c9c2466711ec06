FROM registry.example:5000/base:1
RUN echo begin; tail /dev/zero; echo after $?; exit 137
