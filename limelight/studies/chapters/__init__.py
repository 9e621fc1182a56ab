"""The chapters of a study's page: what was measured, said in sentences and shown."""
