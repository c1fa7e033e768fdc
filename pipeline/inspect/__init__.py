"""What a finished corpus holds and what became of the rest: funnel, figures, report, a local page to look at both."""
