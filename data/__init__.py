"""What things are: records, schemas, ids, sources, prompts, steps, store. No model library is imported here."""
