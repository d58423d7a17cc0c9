"""Questions about many images: SQL, gathered artifacts, parallel calls."""
