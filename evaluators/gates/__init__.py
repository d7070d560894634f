"""Gates: what is known of a candidate, as a verdict.

Pure modules, without input or output; docs/verdict.md tells a user how they reach a verdict.

- ``expressions``  the text of criteria and triggers, parsed
- ``kernel``       evidence that holds at every moment at once, folded from sums
- ``hypotheses``   which tests there are, and what each looks at
- ``rules``        criteria, trigger, error budgets and times of one stage
- ``buckets``      what one closed minute says
- ``query``        the sums, as one ClickHouse query
- ``evidence``     the buckets folded: of each promotion test, of each roll back cause
- ``intervals``    confidence intervals for display, valid at every moment
- ``verdict``      rules and sums in, verdict out
"""
