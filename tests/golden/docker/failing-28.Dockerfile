FROM bpdocker/base:1
# a comment
RUN echo first && \
  sh -c 'echo MARK >&2; exit 7'
RUN never
