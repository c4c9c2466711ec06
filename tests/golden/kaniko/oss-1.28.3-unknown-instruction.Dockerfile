FROM registry.example:5000/base:1

FROB x
