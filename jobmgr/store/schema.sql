-- The store of one run: RUN/.service/suite.db (docs/architecture.md, "The store").
-- A cache: everything about jobs can be rebuilt from the hosts' job.status files (jobmgr recover).
-- Times are seconds since the epoch (REAL); NULL = not known, not due, or never. Texts default to ''.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL               -- JSON
) WITHOUT ROWID;

CREATE TABLE cycles (
    position INTEGER PRIMARY KEY,     -- the order in which they were added
    cycle TEXT NOT NULL UNIQUE,
    created REAL NOT NULL
);

-- One task in one cycle. state: as in core/states.py; from the first job on that of the latest job.
CREATE TABLE instances (
    position INTEGER PRIMARY KEY,
    cycle TEXT NOT NULL REFERENCES cycles(cycle),
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    not_before REAL,                  -- the time of the next try
    tries INTEGER NOT NULL DEFAULT 0,         -- retry_delays used up
    submit_tries INTEGER NOT NULL DEFAULT 0,  -- submit_retry_delays used up
    hold INTEGER NOT NULL DEFAULT 0,          -- held by a person
    manual INTEGER NOT NULL DEFAULT 0,        -- a person said: now, whatever the graph says
    last_submit INTEGER NOT NULL DEFAULT 0,   -- the latest submit number taken
    changed REAL NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,       -- greater than that of every row that was changed before
    UNIQUE (cycle, task)
);
CREATE INDEX instances_state ON instances(state);
CREATE INDEX instances_version ON instances(version);

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    cycle TEXT NOT NULL,
    task TEXT NOT NULL,
    submit INTEGER NOT NULL,
    token TEXT NOT NULL UNIQUE,
    platform TEXT NOT NULL,
    host TEXT NOT NULL,               -- the host that the intent names
    transport TEXT NOT NULL DEFAULT '',
    runner TEXT NOT NULL,
    state TEXT NOT NULL,
    changed REAL NOT NULL,            -- when the state last changed, by the controller's clock
    detail TEXT NOT NULL DEFAULT '',
    doubt TEXT NOT NULL DEFAULT '',
    doubt_since REAL,
    rule TEXT NOT NULL DEFAULT '',
    native_id TEXT NOT NULL DEFAULT '',
    instance TEXT NOT NULL DEFAULT '',        -- the life of the host when the submit was sent
    acknowledged INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,         -- how often the submit request was sent
    submit_time REAL NOT NULL,        -- of the intent
    start_time REAL,
    exit_time REAL,
    exit_record TEXT NOT NULL DEFAULT '',
    exit_code INTEGER,
    signal TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    elapsed REAL,
    cpu REAL,
    max_rss INTEGER,
    hostname TEXT NOT NULL DEFAULT '',        -- where it ran
    attempts INTEGER NOT NULL DEFAULT 0,
    superseded INTEGER NOT NULL DEFAULT 0,    -- attempts that the queue has put behind by a restart
    lost INTEGER NOT NULL DEFAULT 0,
    retry_safe INTEGER NOT NULL DEFAULT 0,
    followed INTEGER NOT NULL DEFAULT 0,      -- what follows a final state was done (graph, retry)
    kill_intended REAL,               -- since when
    grace_since REAL NOT NULL DEFAULT 0,      -- these four by the host's clock
    grace_instance TEXT NOT NULL DEFAULT '',
    look_time REAL NOT NULL DEFAULT 0,
    look_instance TEXT NOT NULL DEFAULT '',
    seen_size INTEGER NOT NULL DEFAULT 0,
    seen_messages INTEGER NOT NULL DEFAULT 0,
    find INTEGER NOT NULL DEFAULT 0,          -- the next poll is to look the token up
    revoke INTEGER NOT NULL DEFAULT 0,        -- the next poll is to revoke the token
    resend INTEGER NOT NULL DEFAULT 0,        -- the submit request is to be sent again
    polls INTEGER NOT NULL DEFAULT 0,         -- answered polls in the present state
    errors INTEGER NOT NULL DEFAULT 0,        -- calls without an answer, in a row
    last_polled REAL,
    last_answer REAL,
    next_poll REAL,                   -- NULL: not to be polled
    UNIQUE (cycle, task, submit),
    FOREIGN KEY (cycle, task) REFERENCES instances(cycle, task)
);
CREATE INDEX jobs_state ON jobs(state);
CREATE INDEX jobs_due ON jobs(next_poll) WHERE next_poll IS NOT NULL;
-- What a turn of the loop asks for each time: few rows of many.
CREATE INDEX jobs_follow ON jobs(id)
    WHERE followed = 0 AND state IN ('succeeded', 'failed', 'submit-failed', 'killed');
CREATE INDEX jobs_resend ON jobs(id) WHERE resend = 1;

-- What is long and seldom read: apart, so that reading many jobs stays fast.
CREATE TABLE specs (
    job_id INTEGER PRIMARY KEY REFERENCES jobs(id),
    spec TEXT NOT NULL                -- JSON: the item of the submit request
);
CREATE TABLE looks (
    job_id INTEGER PRIMARY KEY REFERENCES jobs(id),
    time REAL NOT NULL,
    evidence TEXT NOT NULL            -- JSON: the evidence of the latest answer
);

CREATE TABLE messages (
    job_id INTEGER NOT NULL REFERENCES jobs(id),
    number INTEGER NOT NULL,
    time TEXT NOT NULL,
    severity TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

-- What a task instance has reached, for the graph: succeeded, failed, started, ... and its own events.
CREATE TABLE outputs (
    cycle TEXT NOT NULL,
    task TEXT NOT NULL,
    output TEXT NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (cycle, task, output)
) WITHOUT ROWID;

-- The history. Rows are added and never changed.
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    job_id INTEGER,                   -- NULL: about an instance, a host or the run
    subject TEXT NOT NULL,            -- CYCLE/TASK/NN, CYCLE/TASK, PLATFORM/HOST or ''
    kind TEXT NOT NULL,
    old TEXT NOT NULL DEFAULT '',
    new TEXT NOT NULL DEFAULT '',
    rule TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    evidence TEXT NOT NULL DEFAULT '' -- JSON
);
CREATE INDEX events_job ON events(job_id) WHERE job_id IS NOT NULL;

CREATE TABLE hosts (
    platform TEXT NOT NULL,
    host TEXT NOT NULL,
    run_dir TEXT NOT NULL DEFAULT '',
    instance TEXT NOT NULL DEFAULT '',
    hostname TEXT NOT NULL DEFAULT '',
    clock_offset REAL NOT NULL DEFAULT 0,     -- host minus controller
    last_contact REAL,
    last_error TEXT NOT NULL DEFAULT '',
    error_since REAL,
    errors INTEGER NOT NULL DEFAULT 0,
    blocked_until REAL,
    auth_blocked INTEGER NOT NULL DEFAULT 0,  -- a person must: 1 log in, 2 clear the way
    initialised_epoch INTEGER NOT NULL DEFAULT 0,
    contact_installed INTEGER NOT NULL DEFAULT 0,
    source_digest TEXT NOT NULL DEFAULT '',   -- of the suite source installed there
    shared INTEGER NOT NULL DEFAULT 0,        -- the run directory there is the controller's own
    network_fs TEXT NOT NULL DEFAULT '',
    cores INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (platform, host)
) WITHOUT ROWID;

CREATE TABLE retrievals (
    job_id INTEGER NOT NULL REFERENCES jobs(id),
    path TEXT NOT NULL,               -- relative to the run directory
    size INTEGER NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL,              -- pending done too-large is-a-link vanished failed
    error TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    not_before REAL,
    PRIMARY KEY (job_id, path)
) WITHOUT ROWID;
CREATE INDEX retrievals_state ON retrievals(state);
