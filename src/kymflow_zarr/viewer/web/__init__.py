"""The browser page's server."""
