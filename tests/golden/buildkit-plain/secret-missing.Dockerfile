FROM registry.test/bb
RUN --mount=type=secret,id=tok,required=true cat /run/secrets/tok
