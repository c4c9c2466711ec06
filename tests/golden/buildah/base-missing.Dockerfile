# a comment
FROM registry.test:5000/no/such:1
