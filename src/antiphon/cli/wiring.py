"""Puts the parts together"""
