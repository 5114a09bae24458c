"""What long jobs share: the board of their items, their pace and their log."""

from engine.jobs.board import Board, Pace, seconds_for
from engine.jobs.log import log_to

__all__ = ["Board", "Pace", "log_to", "seconds_for"]
