"""Checks of lesson 05."""

from vae_helpers.checks.exercise import Bug, Exercise

EXERCISES: list[Exercise] = []
