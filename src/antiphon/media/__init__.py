"""Makes checked pictures and sound from untrusted bytes, and fetches bytes from untrusted URLs."""
