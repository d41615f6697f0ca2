"""The Kubernetes end: API session, informers, lease, scale subresource, status and events.

Importing the package loads nothing heavy; ``kubernetes_asyncio`` is imported when a connection is made.
"""
