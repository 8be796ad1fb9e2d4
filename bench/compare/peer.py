# Opens a file once for every line of standard input; see peer in measure.go.
import sys
import time

from safetensors import safe_open

for _ in sys.stdin:
    cpu, start = time.process_time_ns(), time.perf_counter_ns()
    f = safe_open(sys.argv[1], framework="np")
    wall, done = time.perf_counter_ns() - start, time.process_time_ns()
    del f
    print(wall, done - cpu, time.process_time_ns() - cpu, flush=True)
