"""When and where read tasks run: inline, on threads or in worker processes, ahead of need within a budget in bytes."""
