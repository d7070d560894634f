"""Pairing: the two responses to one request become one scored pair.

``envelopes`` says when a Kafka message may be acknowledged, ``join`` which halves meet, ``records`` what is
read and written, ``service`` puts them together for whoever hands messages in. None of them knows Faust:
:mod:`shadowlane.processors.app` does.
"""
