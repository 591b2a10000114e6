"""Model files: finds, downloads and optimises them."""
