FROM private.test/private/base
RUN true
