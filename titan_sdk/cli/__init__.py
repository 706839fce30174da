"""The `titan` program: a command table, the commands, how they show things, and the `titan>` prompt.

    main ──▶ command_table (argv → options) ──▶ commands_* ──▶ TitanClient
                                                  └──▶ output (rows, tables, records, text)

Modules are imported where they are used, so that `titan --help` and single commands start quickly.
"""
