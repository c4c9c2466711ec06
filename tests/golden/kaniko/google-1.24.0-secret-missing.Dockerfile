FROM registry.example:5000/base:1
RUN --mount=type=secret,id=token,required=true cat /run/secrets/token
