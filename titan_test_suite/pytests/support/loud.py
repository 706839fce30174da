"""A job that prints 20,000 lines a second, for two seconds, and says then how long it really took."""

LOUD = """
import sys, time
begin, lines = time.monotonic(), 0
while lines < 40_000:
    for at in range(200):
        sys.stdout.write(f"{lines + at} a line as programs print them, of some seventy letters or so\\n")
    sys.stdout.flush()
    lines += 200
    time.sleep(max(0.0, begin + lines / 20_000 - time.monotonic()))
print(f"took {time.monotonic() - begin:.4f}")
"""
