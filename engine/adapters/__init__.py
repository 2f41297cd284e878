"""Adapters that ship: one library a file."""
