"""Checks of lesson 02."""

from vae_helpers.checks.exercise import Bug, Exercise

EXERCISES: list[Exercise] = []
