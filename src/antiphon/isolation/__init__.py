"""Jobs in processes that may be killed: for whatever works on hostile bytes, or works long."""
