"""What makes the model fast or small on each device. Nothing here is the method, and nothing else asks for a device."""
