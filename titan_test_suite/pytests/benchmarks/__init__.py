"""What Titan costs, measured beside what a user would pick instead: `make bench`. Nothing here is a test.

    throughput · latency · round_trip · dag · delays              the measurements
    store · rows · schedules · services · idle
    figures     samples, and what is wanted of them              report      the table, and the JSON
    cluster     a master and workers in a home that is thrown away
    jobs        the job that everybody runs                      peers       the others, a process each
    answering   the service that everybody keeps                 keepers     those who keep it, Titan too
    load        jobs at a steady rate                            instant     workers that complete attempts at once
    places      where all files are kept                         processes   what a process has cost

Measurements are functions from a Plan to Figures. They judge nothing: a slow machine is no failure.
`docs/benchmarks.md` says what each figure means.
"""
