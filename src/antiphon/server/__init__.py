"""The HTTP server: routes, middleware, server-sent events, OpenAPI."""
