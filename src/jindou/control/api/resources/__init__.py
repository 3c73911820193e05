"""What kinds there are: names, schemas, columns, discovery, OpenAPI and protobuf, built-in and custom alike."""
