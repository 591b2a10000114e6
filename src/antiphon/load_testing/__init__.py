"""Load for servers under measurement, and the figures that come of it."""
