"""Tests; `launch/test.sh` runs them."""
