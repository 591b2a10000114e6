"""Drafts: tokens that the model verifies together in one step."""
