"""The dashboard: a web page onto a cluster, `python -m dashboard`, and nothing but one more client of its master.

    browser ──HTTP──▶ waitress ─▶ access ─▶ pages/*, api, metrics ─▶ templates
       ▲              (threads)  (may it?)     │          │
       │                                       │          └─ a run, a job, a log, an action ─▶ TitanClient ─▶ master
       │                                       ▼                                                   ▲
       └──"version 7"── streams ◀── cluster.ClusterWatch (ONE thread) ── what every page shows ────┘

What concerns the whole cluster is read by one thread, at most once a second, into an immutable `Snapshot`; pages,
streams and metrics are made of that, so that many browsers cost the master no more than one. Details, and whatever
a person has done, go to the master directly, over the pool of connections of one client.

    config     what it was told: address, master, who may reach it       parts     who finds which of these objects
    server     the socket, the threads, start and stop                   app       all of it as one Flask application
    cluster    the snapshot, and the thread that keeps it                ledgers   fires that came to nothing lately
    access     may this request be served? and the headers of answers    sessions  who has logged in
    streams    Server-Sent Events: "something has changed"               refusals  errors as pages, or as JSON
    page       what pages are made with: Page, render, confirm, act      links     where things have their pages
    attention  what of a snapshot needs a person                         present   values as text and HTML
    rings      what jobs print, as it comes                          collector receives it, from all workers
    logs       following the log of an attempt                           fires     past and coming fires, in words
    bodies     how much is received from whom
    api        the same facts as JSON                                    metrics   … and for Prometheus

A page is a module of `dashboard.pages` with a `Page` called `page`; it is found by itself, and with `nav=` it is in
the navigation:

    page = Page("runs", nav="Runs")

    @page.get("/runs")
    def listing() -> ResponseReturnValue:
        return render("runs.html", runs=parts().cluster.look().runs)

Its template begins with `{% extends layout %}` and fills the blocks `title` and `main`. An element of `main` with an
`id` and `data-live` is kept up to date by `static/live.js`, which fetches the same address again and changes what is
different. An action is a `@page.post` that gives `act(...)` back, with a page that `confirm(...)` makes at the same
address; `access` has then seen to it that who asks has logged in and meant it.
"""
