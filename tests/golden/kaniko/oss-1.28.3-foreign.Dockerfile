FROM registry.example:5000/arm:1
RUN echo hi
