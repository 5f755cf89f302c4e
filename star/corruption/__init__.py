"""Near-miss solutions for training and testing process reward models; see `star.corruption.corrupt`."""

from __future__ import annotations

from star.corruption.corrupt import Corruption, CorruptionConfig, Mode, corruptions
from star.corruption.slips import SlipKind

__all__ = ["Corruption", "CorruptionConfig", "Mode", "SlipKind", "corruptions"]
