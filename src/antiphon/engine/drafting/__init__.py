"""Drafts: tokens that the model verifies several at a time."""
