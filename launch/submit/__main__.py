"""Submits a training job: python -m launch.submit."""

import sys

from launch.submit import program

sys.exit(program.main(["launch.submit", *sys.argv[1:]]))
