"""What goes on between the Evaluate tab and the engine."""

from __future__ import annotations

from app.settings import Settings
from widgets.evaluate import EvaluateTab


class EvaluateSession:
    """Everything that the Evaluate tab needs besides itself."""

    def __init__(self, tab: EvaluateTab, settings: Settings) -> None:
        self.tab = tab
        self.settings = settings

    def restore(self) -> None: ...

    async def close(self) -> None: ...

    @property
    def alive(self) -> bool:
        return False
