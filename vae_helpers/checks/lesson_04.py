"""Checks of lesson 04."""

from vae_helpers.checks.exercise import Bug, Exercise

EXERCISES: list[Exercise] = []
