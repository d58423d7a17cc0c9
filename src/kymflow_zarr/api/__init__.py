"""The face of the package: the dataset, its images, and what their methods return."""
