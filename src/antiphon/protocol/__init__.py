"""What is on the wire, as frozen Structs."""
