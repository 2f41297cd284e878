"""Lessons: broken implementations with one sin each, and honest variants that nothing may flag."""
