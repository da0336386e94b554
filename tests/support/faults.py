"""What goes wrong for those who keep connections alive, and how each of it has to end: the rows of the fault table.

A test that shows a row carries `@pytest.mark.fault("F05")`. `nox -s faults` runs those tests and writes the page.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: `id` is its name for good; numbers that are missing never were, or are gone."""

    id: str
    what: str
    expected: str
    not_shown: str = ""
    """What of it no test here can show, and why."""


FAULTS = (
    Fault(
        "F01",
        "Several hosts and many callers want one token renewed at the same moment",
        "One request reaches the platform, and everybody gets its token",
    ),
    Fault(
        "F02",
        "A process is stopped within a refresh and wakes when its claim is long over",
        "What was not sent yet is not sent; what was sent is kept for the successor, and changes nothing else",
    ),
    Fault(
        "F03",
        "A connection cannot be claimed, because another host is at it and slow",
        "The caller hears so, and when to ask again; nothing is sent without a claim",
    ),
    Fault(
        "F04",
        "The good answer of a host that was taken for dead comes after its successor was refused",
        "The answer is found in the journal and applied; the connection stays",
    ),
    Fault(
        "F05",
        "The platform has given a new token, and its answer is lost on the way",
        "The same token is tried again at once; where that cannot help, its user is told what it was",
    ),
    Fault(
        "F06",
        "The process is killed, at any step of a refresh",
        "The next start finds its way back by itself; only an answer that nobody had stored can be lost",
    ),
    Fault(
        "F07",
        "The database cannot store the new token: full, away, locked",
        "The answer is held and stored when it can be; nothing is sent a second time",
    ),
    Fault(
        "F08",
        "Something else of the connection is written while its token changes",
        "Who does not bring a token leaves the token's columns alone",
    ),
    Fault(
        "F09",
        "A long poll goes on with a token that a refresh has replaced and the platform has ended",
        "It takes the new one and asks once more; nobody hears of it",
    ),
    Fault(
        "F10",
        "The token endpoint answers 500, 502, 503 or 504 for an hour",
        "It is asked seldom; within a minute after it is well the connection is, too",
    ),
    Fault(
        "F11",
        "503 with a web page and a Retry-After that is a date, negative or beyond all measure",
        "Waited for as long as makes sense, an hour at most",
    ),
    Fault("F12", "No such name, nobody listens, no way there", "Nothing was sent, and nothing is in doubt"),
    Fault(
        "F13",
        "A certificate that has expired, is another host's, or that nobody vouches for",
        "No token is sent to whoever that is",
    ),
    Fault(
        "F14",
        "The token endpoint says 429 while very many tokens are due",
        "That platform is asked less, no other is; in the end all are renewed",
    ),
    Fault(
        "F15",
        "The token endpoint has moved: 404, 410",
        "After three connections the operator is called, and it is asked once a minute",
    ),
    Fault(
        "F16",
        "A captive portal or proxy answers everything with HTTP 200 and a web page",
        "Tokens stay as they are, and no page of it gets among the records",
    ),
    Fault(
        "F17",
        "Our client secret is wrong for thousands of connections, and is mended later",
        "A handful of requests, one call to the operator, no user troubled; all goes on once it is right",
    ),
    Fault("F18", "An error in HTTP 200, as a form, or by a code of the platform's own", "Judged by its code"),
    Fault(
        "F19",
        "A life of a token that cannot be: missing, 0, negative, NaN, a list, a truth",
        "It counts as the usual one: never for ever, and never a loop",
    ),
    Fault("F20", "No new refresh token in the answer: absent, null, empty, the same", "The old one is kept and works"),
    Fault(
        "F21",
        "Other scopes than before: fewer, more, in another order",
        "They are stored and shown, fewer are told, and what was read before stays",
    ),
    Fault(
        "F22",
        "The platform calls most grants dead at once, by a mistake of its own",
        "After the first twenty it is not believed; the operator is called",
    ),
    Fault("F23", "A grant is called dead once, and then not", "Nobody is troubled"),
    Fault(
        "F24",
        "An answer that comes byte by byte, in its head or its body, without end",
        "It is given up in time, and other refreshes go on meanwhile",
    ),
    Fault(
        "F25",
        "An answer of gigabytes, packed or not, or one of a hundred thousand headers",
        "It is cut off where it grows too large; memory does not grow with it",
    ),
    Fault(
        "F26",
        "A redirect to another host, to http, into the private network, or to itself",
        "It is not followed; nobody else sees a token, a secret or a code",
    ),
    Fault(
        "F27",
        "A token stands in a URL, an exception, a log line, a trace",
        "It is taken out before anybody can read it",
    ),
    Fault(
        "F28",
        "Pages without end, in circles, empty with a next one; a place that the platform forgot",
        "The reading ends, says why, and never skips what is not stored",
    ),
    Fault(
        "F30",
        "The process dies between storing a page and moving the cursor",
        "Read again, and there once",
    ),
    Fault(
        "F31",
        "The wall clock jumps an hour or a month, either way",
        "No storm, and nothing that is due waits more than a minute",
    ),
    Fault(
        "F34",
        "The machine sleeps, or everything on it is stopped, and wakes an hour later",
        "What ended meanwhile is noticed within seconds and renewed before it is used",
    ),
    Fault(
        "F35",
        "The clocks of two hosts, their database and the platform differ by ten minutes",
        "Claims hold all the same: one request for each token",
    ),
    Fault(
        "F40",
        "Many writers and long readers on one SQLite file",
        "They wait for each other; all that was to be written is there",
    ),
    Fault(
        "F41",
        "The disk is full",
        "Nothing is sent whose answer could not be stored; with room again all goes on by itself",
    ),
    Fault(
        "F42",
        "SQLite's write-ahead log is written and read without a pause",
        "It is emptied in time and stays small",
        "Readings as long as a whole export that overlap for hours. The SQLite of this run is not one to be trusted "
        "with such a log; the test forces it on.",
    ),
    Fault(
        "F43",
        "An SQLite that can corrupt its write-ahead log when several processes use it",
        "No such log is written there, and `soulwatch doctor` says so",
    ),
    Fault(
        "F44",
        "Power is lost",
        "What was acknowledged is on the disk",
        "The power cut itself: that takes a virtual machine, and there is none here. What is shown is that each "
        "connection asks its database to wait for the disk.",
    ),
    Fault(
        "F45",
        "A task is cancelled, at any await of any way into the database",
        "No connection leaks, nothing hangs, and what was committed is found committed",
    ),
    Fault(
        "F46",
        "PostgreSQL restarts, ends our sessions, cancels a statement, calls a deadlock; no connection is free",
        "It is tried again where that is safe; what was acknowledged is there once",
        "Failing over to a second server: there is one here. A deadlock or a serialization failure that is the "
        "server's own: nothing here makes one, and such errors are only played, on SQLite.",
    ),
    Fault(
        "F49",
        "A file system that can only be read, I/O errors, no file descriptors, no memory",
        "Nothing is sent, nothing is corrupted, and it goes on by itself",
        "A kernel out of memory: what it ends is a process, which is F06.",
    ),
    Fault(
        "F60",
        "A loop or a job of the background work dies",
        "It is started again; where one shows no life, `/healthz` fails and names it",
    ),
    Fault(
        "F61",
        "The encryption key is another or missing, at the start or in the middle of a run",
        "It refuses to start and changes nothing; running, it says what is missing and flips nothing",
    ),
    Fault(
        "F62",
        "The change of the encryption key is interrupted, at any step, while refreshes run",
        "It is taken up again, and every token opens",
    ),
    Fault(
        "F63",
        "A connection is ended or made anew in the middle of a refresh or a poll",
        "What came too late is revoked and forgotten; nothing comes back",
    ),
)

BY_ID = {fault.id: fault for fault in FAULTS}
