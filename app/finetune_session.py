"""What goes on between the FineTune tab and the engine."""

from __future__ import annotations

from app.settings import Settings
from widgets.finetune import FineTuneTab


class FineTuneSession:
    """Everything that the FineTune tab needs besides itself."""

    def __init__(self, tab: FineTuneTab, settings: Settings) -> None:
        self.tab = tab
        self.settings = settings

    def restore(self) -> None: ...

    async def close(self) -> None: ...

    @property
    def alive(self) -> bool:
        return False
