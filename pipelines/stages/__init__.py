"""The stages of a run, each a function from records to records through the run folder."""
