FROM registry.test/bb
RUN echo started; sleep 30
