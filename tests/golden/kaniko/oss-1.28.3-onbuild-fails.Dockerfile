FROM registry.example:5000/base:onbuild2
RUN echo from the file
