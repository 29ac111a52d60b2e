"""The shared rim: clock, processes, durable writes, the console."""
