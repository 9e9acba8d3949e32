# unhang serve /tmp/shout.sock --workers 2 -- python3 worker.py
import sys
sys.stdin.reconfigure(errors="surrogateescape", newline="\n"); sys.stdout.reconfigure(errors="surrogateescape")
for line in sys.stdin:
    id, request = line.rstrip("\n").split(" ", 1)
    print(id, request.upper(), flush=True)
