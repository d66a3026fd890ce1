"""What the API returns; one file a resource."""
