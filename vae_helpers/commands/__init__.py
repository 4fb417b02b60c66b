"""The commands of `python -m vae_helpers`, one module each, named like its command.

Each module has HELP (one line), `add_arguments(parser)`, and `run(arguments) -> int`, which prints for a person, leaves its JSON text in
`arguments.result`, and returns the exit code. torch is imported inside `run`, so that --help is quick and `doctor` works without it.
"""
