"""The stack on one machine: broker and worker as processes, the demo, checks and repairs of this home's state."""
