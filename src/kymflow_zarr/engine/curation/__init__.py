"""What people have judged of an image: values, documents and edits."""
