"""Values and tables as files for spreadsheets and statistics programs."""
