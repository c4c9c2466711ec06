FROM registry.example:5000/base:onbuild
RUN echo from the file
RUN exit 3
