FROM registry.example:5000/base:1
RUN echo started; sleep 20
