"""Pages about a run, each one self-contained file: the report and the audit of single steps."""
