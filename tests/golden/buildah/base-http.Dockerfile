FROM tls.test:5918/base
