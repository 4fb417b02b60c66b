"""Checks of lesson 01."""

from vae_helpers.checks.exercise import Bug, Exercise

EXERCISES: list[Exercise] = []
