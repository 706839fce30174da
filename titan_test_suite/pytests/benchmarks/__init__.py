"""What Titan costs, measured beside what a user would pick instead: `make bench`. Nothing here is a test.

    jobs          the job that everybody runs: it creates one file        peers       the others, one process each
    cluster       a master and workers in a home that is thrown away      load        jobs at a steady rate
    instant       workers that complete every attempt at once             figures     samples, and what is wanted
    throughput · latency · round_trip · dag · delays · idle               the measurements
    report        the table, and the JSON

Measurements are functions from a Plan to Figures. They judge nothing: a slow machine is no failure.
`docs/benchmarks.md` says what each figure means.
"""
