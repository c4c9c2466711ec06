FROM registry.test/bb
RUN true
COPPY a b
