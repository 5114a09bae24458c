"""Novel views of an object from one picture: one protocol, several generators."""
