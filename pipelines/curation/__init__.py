"""What is done with a run's data: lineage, quarantine, decontamination, exports."""
