"""Gates: what is known of a candidate, as a verdict.

Pure modules, without input or output; docs/verdict.md tells a user how they reach a verdict.

- ``expressions``  the text of criteria and triggers, parsed
- ``kernel``       evidence that holds at every moment at once, folded from sums
- ``hypotheses``   which tests there are, and what each looks at
- ``rules``        criteria, trigger, error budgets and times of one stage
- ``query``        the sums, as one ClickHouse query
- ``intervals``    confidence intervals for display, valid at every moment
- ``verdict``      rules and sums in, verdict out
"""
