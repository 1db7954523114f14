"""The agent `frontdesk`: books, moves and cancels appointments, knows the opening hours and where an order is."""

from voice_agent.agents.frontdesk.agent import FrontDesk

__all__ = ["FrontDesk"]
