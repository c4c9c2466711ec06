FROM registry.example:5000/base:1
RUN id
