"""JSON artifacts: values to standard JSON and back."""
