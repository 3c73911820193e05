"""Which Pods answer for a Service: EndpointSlices and Endpoints."""
