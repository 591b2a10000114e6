"""Load for servers under measurement, and the figures of the measurements."""
