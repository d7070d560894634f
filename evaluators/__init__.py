"""Scorers (a pair -> numbers) and gates (numbers over a window -> a verdict)."""
