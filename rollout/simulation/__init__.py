"""A rollout on synthetic traffic: the engine's own arithmetic, thousands of stages side by side.

- ``effects``   what is done to the candidate, as text: ``error_rate +1% in language=de after 3h``
- ``baseline``  what traffic is like: from the store, or as stated
- ``kinds``     a pair of such traffic as one of a few kinds, with exact means
- ``traffic``   draws buckets of such pairs, or of sessions, for many runs at once
- ``engine``    folds them for many runs at once, and says who is promoted and who rolled back
- ``replay``    the same buckets through the real fold, one run at a time: holds ``engine`` to it
- ``walk``      runs from stage to stage
- ``plot``      what came of it, as SVG and in a terminal

All but ``effects`` and ``baseline`` need numpy.
"""
