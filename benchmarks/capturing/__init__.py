"""What benchmarks/captures.py runs in processes of their own."""
