"""Recipes, one file each; default.py has every field."""
