"""Commands about what people decide: their history, and copies that were edited apart."""
