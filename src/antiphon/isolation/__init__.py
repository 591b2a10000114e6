"""Runs jobs on hostile bytes, and jobs that may take long, in processes that may be killed."""
