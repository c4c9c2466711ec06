FROM registry.test:5000/multi
RUN true
