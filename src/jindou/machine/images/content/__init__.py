"""What is on disk: blobs, layers, the index of names, and the roots mounted from them."""
