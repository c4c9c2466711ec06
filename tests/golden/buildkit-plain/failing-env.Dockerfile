FROM registry.test/bb
ENV WHO="some body"
ARG SECRET
RUN echo "${WHO}" && test "$SECRET" = open; exit 4
