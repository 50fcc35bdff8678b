"""Tests; the folders mirror src/vaelab and pipeline."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
