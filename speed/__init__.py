"""What this machine does best: precision, compiled and recorded steps; several processes that train one model."""
