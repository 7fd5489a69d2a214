"""The API, described: OpenAPI 3.1 for what is asked over HTTP, AsyncAPI 3.0 for events, and a page for people."""
