"""The Screen tab: thousands of models judged one after the other."""

from widgets.screen.contents import Found, Review, Rights, Scene, StartRequest
from widgets.screen.keys import ACTIONS
from widgets.screen.tab import ScreenTab
from widgets.screen.web_view import share_contexts

__all__ = ["ACTIONS", "Found", "Review", "Rights", "Scene", "ScreenTab", "StartRequest", "share_contexts"]
