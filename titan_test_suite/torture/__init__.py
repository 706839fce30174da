"""The crash storm: a cluster of real processes that is killed and cut off at random while it works, and a judge.

    python -m titan_test_suite.torture --minutes 10 --seed 7

A master and three workers run in homes of their own, and the workers start more. Clients submit runs and believe
what they are told; `kill -9` hits the master or a worker every few seconds, and a proxy cuts, delays and stalls
what they say to each other. Every job writes into a ledger when it starts and when it ends: afterwards the ledger,
and what the clients were told, is held against what the master says, and nothing the master says is taken for proof.

    plans       what is submitted, and what must become of it     scripts   what the jobs run
    load        the clients, and the book of what they were told  ledger    what the jobs wrote
    promises    what they were told of a run                      recovery  how long the cluster took to work again
    programs    the cluster's processes                           faults    who is killed when
    spawned     the workers that workers start                    services  what lasts, and is scaled and restarted
    proxy       the connections and their misfortunes             oracle    the judgement
    schedules   what is due at known instants        fires     the judgement of that
    ear         who is told of what went wrong
    storm       one storm from start to end                       evidence  what is known when it is over

Nothing here is imported by Titan itself. It uses the SDK as any client does.
"""
