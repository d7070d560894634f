"""Gates: what is known of a candidate, as a verdict.

Pure modules, without input or output; docs/verdict.md tells a user how they reach a verdict.

- ``expressions``  the text of criteria and triggers, parsed
- ``measures``     what may be asked of a request besides scores, in which units
- ``observables``  what is looked at in a pair, as SQL
- ``kernel``       evidence that holds at every moment at once, folded from sums
- ``hypotheses``   which tests there are, and what each looks at
- ``rules``        criteria, trigger, error budgets and times of one stage
- ``scope``        which pairs count, and what is a unit
- ``units``        each pair once, or each session, as SQL
- ``baselines``    what a rule like ``1.2x`` holds the candidate to
- ``query``        the sums of each bucket and slice, as one ClickHouse query
- ``buckets``      what one closed bucket says
- ``slices``       what is known of one slice, and its share of the error budget
- ``fold``         the state that closed buckets are folded into, and how it is kept
- ``reading``      what is new in the store, folded
- ``evidence``     the fold as numbers for a person: of each promotion test, of each roll back cause
- ``intervals``    confidence intervals for display, valid at every moment
- ``verdict``      rules and fold in, verdict out
- ``estimates``    what a report shows beside it: means and intervals
"""
