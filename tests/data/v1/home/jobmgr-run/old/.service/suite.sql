PRAGMA application_id=1785684589;
PRAGMA user_version=1;
BEGIN TRANSACTION;
CREATE TABLE cycles (
    position INTEGER PRIMARY KEY,     -- the order in which they were added
    cycle TEXT NOT NULL UNIQUE,
    created REAL NOT NULL
);
INSERT INTO "cycles" VALUES(1,'1',1.79521084509146428105e+09);
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
INSERT INTO "events" VALUES(1,1.79521084698621201511e+09,1,'1/fine/01','submit','','submitting','','to wizard (background)','');
INSERT INTO "events" VALUES(2,1.79521084698621201511e+09,2,'1/bad/01','submit','','submitting','','to wizard (background)','');
INSERT INTO "events" VALUES(3,1.79521084714152479172e+09,1,'1/fine/01','submit','submitting','submitted','acknowledged','','');
INSERT INTO "events" VALUES(4,1.79521084714152479172e+09,2,'1/bad/01','submit','submitting','submitted','acknowledged','','');
INSERT INTO "events" VALUES(5,1.79521154737186789513e+09,1,'1/fine/01','poll','submitted','succeeded','succeeded','','["1/fine/01", "6bd1a1c3-3e2a-45f3-82e2-a2c0eedbe07b", ["ok", 509, {"STATUS_VERSION": "1", "TOKEN": "6bd1a1c3-3e2a-45f3-82e2-a2c0eedbe07b", "RUNNER": "background", "SUBMIT_TIME": "2026-11-20T21:40:47Z", "ATTEMPT": "1", "PID": "11", "START_IDENTITY": "713731", "INSTANCE": "@INSTANCE@", "HOSTNAME": "@HOSTNAME@", "NATIVE_ID": "11", "START_TIME": "2026-11-20T21:40:47.138Z", "ELAPSED": "0.08", "CPU": "0.00", "EXIT_TIME": "2026-11-20T21:40:47.218Z", "EXIT": "SUCCEEDED"}, [["2026-11-20T21:40:47Z", "INFO", "half way | done"]], 1, 1, ""], ["not-asked", "", "", ""], "gone", "started", "", true, false, "none", ["not-asked", "", "", false], [["log/job/1/fine/01/job", 1379, "file"], ["log/job/1/fine/01/job.err", 0, "file"], ["log/job/1/fine/01/job.out", 0, "file"], ["log/job/1/fine/01/job.status", 509, "file"]]]');
INSERT INTO "events" VALUES(6,1.79521154737186789513e+09,2,'1/bad/01','poll','submitted','failed','failed','exit 3','["1/bad/01", "e0e67240-8588-4955-9336-d3d846d22c5b", ["ok", 451, {"STATUS_VERSION": "1", "TOKEN": "e0e67240-8588-4955-9336-d3d846d22c5b", "RUNNER": "background", "SUBMIT_TIME": "2026-11-20T21:40:47Z", "ATTEMPT": "1", "PID": "12", "START_IDENTITY": "713732", "INSTANCE": "@INSTANCE@", "HOSTNAME": "@HOSTNAME@", "NATIVE_ID": "12", "START_TIME": "2026-11-20T21:40:47.140Z", "ELAPSED": "0.03", "CPU": "0.00", "EXIT_TIME": "2026-11-20T21:40:47.179Z", "EXIT": "FAILED/3"}, [], 0, 1, ""], ["not-asked", "", "", ""], "gone", "started", "", true, false, "none", ["not-asked", "", "", false], [["log/job/1/bad/01/job", 1349, "file"], ["log/job/1/bad/01/job.err", 0, "file"], ["log/job/1/bad/01/job.out", 0, "file"], ["log/job/1/bad/01/job.status", 451, "file"]]]');
INSERT INTO "events" VALUES(7,1.79521154740855264659e+09,3,'1/next/01','submit','','submitting','','to wizard (background)','');
INSERT INTO "events" VALUES(8,1.79521154759403491017e+09,3,'1/next/01','submit','submitting','submitted','acknowledged','','');
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
    auth_blocked INTEGER NOT NULL DEFAULT 0,  -- a person must act first
    initialised_epoch INTEGER NOT NULL DEFAULT 0,
    contact_installed INTEGER NOT NULL DEFAULT 0,
    source_digest TEXT NOT NULL DEFAULT '',   -- of the suite source installed there
    shared INTEGER NOT NULL DEFAULT 0,        -- the run directory there is the controller's own
    network_fs TEXT NOT NULL DEFAULT '',
    cores INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (platform, host)
) WITHOUT ROWID;
INSERT INTO "hosts" VALUES('wizard','wizard','@FOLDER@/host/jobmgr-run/old','@INSTANCE@','@HOSTNAME@',-5.6127071380615234375e-02,1.79521154759357142449e+09,'',NULL,0,NULL,0,1,1,'e3b0c44298fc1c14',0,'',2);
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
INSERT INTO "instances" VALUES(1,'1','fine','succeeded','',NULL,0,0,0,0,1,1.79521154737186789513e+09,8);
INSERT INTO "instances" VALUES(2,'1','bad','failed','',NULL,0,0,0,0,1,1.79521154737186789513e+09,9);
INSERT INTO "instances" VALUES(3,'1','next','submitted','',NULL,0,0,0,0,1,1.79521154759403491017e+09,11);
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
INSERT INTO "jobs" VALUES(1,'1','fine',1,'6bd1a1c3-3e2a-45f3-82e2-a2c0eedbe07b','wizard','wizard','','background','succeeded',1.79521154737186789513e+09,'','',NULL,'succeeded','11','@INSTANCE@',1,1,1.79521084698621201511e+09,1795210847.138,1795210847.218,'SUCCEEDED',0,'','',0.08,0.0,NULL,'@HOSTNAME@',1,0,0,1,1,NULL,0.0,'',1.79521154732772588724e+09,'@INSTANCE@',509,1,0,0,0,0,0,1.79521154737161684031e+09,1.79521154737161684031e+09,NULL);
INSERT INTO "jobs" VALUES(2,'1','bad',1,'e0e67240-8588-4955-9336-d3d846d22c5b','wizard','wizard','','background','failed',1.79521154737186789513e+09,'exit 3','',NULL,'failed','12','@INSTANCE@',1,1,1.79521084698621201511e+09,1795210847.14,1795210847.179,'FAILED/3',3,'','',0.03,0.0,NULL,'@HOSTNAME@',1,0,0,1,1,NULL,0.0,'',1.79521154732772588724e+09,'@INSTANCE@',451,0,0,0,0,0,0,1.7952115473718249798e+09,1.7952115473718249798e+09,NULL);
INSERT INTO "jobs" VALUES(3,'1','next',1,'b5443eef-ffd5-4274-b2e7-a86bb705ff83','wizard','wizard','','background','submitted',1.79521154759403491017e+09,'','',NULL,'acknowledged','','@INSTANCE@',1,1,1.79521154740855264659e+09,NULL,NULL,'',NULL,'','',NULL,NULL,NULL,'',0,0,0,0,0,NULL,0.0,'',0.0,'',0,0,0,0,0,0,0,1.79521154759395790102e+09,1.79521154759395790102e+09,1.79521157759395790093e+09);
CREATE TABLE looks (
    job_id INTEGER PRIMARY KEY REFERENCES jobs(id),
    time REAL NOT NULL,
    evidence TEXT NOT NULL            -- JSON: the evidence of the latest answer
);
INSERT INTO "looks" VALUES(1,1.79521154737186789513e+09,'["1/fine/01", "6bd1a1c3-3e2a-45f3-82e2-a2c0eedbe07b", ["ok", 509, {"STATUS_VERSION": "1", "TOKEN": "6bd1a1c3-3e2a-45f3-82e2-a2c0eedbe07b", "RUNNER": "background", "SUBMIT_TIME": "2026-11-20T21:40:47Z", "ATTEMPT": "1", "PID": "11", "START_IDENTITY": "713731", "INSTANCE": "@INSTANCE@", "HOSTNAME": "@HOSTNAME@", "NATIVE_ID": "11", "START_TIME": "2026-11-20T21:40:47.138Z", "ELAPSED": "0.08", "CPU": "0.00", "EXIT_TIME": "2026-11-20T21:40:47.218Z", "EXIT": "SUCCEEDED"}, [["2026-11-20T21:40:47Z", "INFO", "half way | done"]], 1, 1, ""], ["not-asked", "", "", ""], "gone", "started", "", true, false, "none", ["not-asked", "", "", false], [["log/job/1/fine/01/job", 1379, "file"], ["log/job/1/fine/01/job.err", 0, "file"], ["log/job/1/fine/01/job.out", 0, "file"], ["log/job/1/fine/01/job.status", 509, "file"]]]');
INSERT INTO "looks" VALUES(2,1.79521154737186789513e+09,'["1/bad/01", "e0e67240-8588-4955-9336-d3d846d22c5b", ["ok", 451, {"STATUS_VERSION": "1", "TOKEN": "e0e67240-8588-4955-9336-d3d846d22c5b", "RUNNER": "background", "SUBMIT_TIME": "2026-11-20T21:40:47Z", "ATTEMPT": "1", "PID": "12", "START_IDENTITY": "713732", "INSTANCE": "@INSTANCE@", "HOSTNAME": "@HOSTNAME@", "NATIVE_ID": "12", "START_TIME": "2026-11-20T21:40:47.140Z", "ELAPSED": "0.03", "CPU": "0.00", "EXIT_TIME": "2026-11-20T21:40:47.179Z", "EXIT": "FAILED/3"}, [], 0, 1, ""], ["not-asked", "", "", ""], "gone", "started", "", true, false, "none", ["not-asked", "", "", false], [["log/job/1/bad/01/job", 1349, "file"], ["log/job/1/bad/01/job.err", 0, "file"], ["log/job/1/bad/01/job.out", 0, "file"], ["log/job/1/bad/01/job.status", 451, "file"]]]');
CREATE TABLE messages (
    job_id INTEGER NOT NULL REFERENCES jobs(id),
    number INTEGER NOT NULL,
    time TEXT NOT NULL,
    severity TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
INSERT INTO "messages" VALUES(1,0,'2026-11-20T21:40:47Z','INFO','half way | done');
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL               -- JSON
) WITHOUT ROWID;
INSERT INTO "meta" VALUES('controller','"53915290-ce79-415f-9f94-905623337066"');
INSERT INTO "meta" VALUES('created','1795210845.0914643');
INSERT INTO "meta" VALUES('epoch','1');
INSERT INTO "meta" VALUES('owner','"ada@@HOSTNAME@"');
INSERT INTO "meta" VALUES('suite','"{\"version\":1,\"name\":\"old\",\"description\":\"\",\"install\":[],\"tasks\":[[\"fine\",\"fine\",{\"platform\":\"wizard\",\"script\":\"echo \\\"$JOBMGR_JOB\\\" >> \\\"$JOBMGR_SHARE_DIR/ran\\\"\\njobmgr-message \\\"half way | done\\\"\"},[],[]],[\"bad\",\"bad\",{\"platform\":\"wizard\",\"script\":\"echo \\\"$JOBMGR_JOB\\\" >> \\\"$JOBMGR_SHARE_DIR/ran\\\"; exit 3\"},[],[]],[\"next\",\"next\",{\"platform\":\"wizard\",\"script\":\"echo \\\"$JOBMGR_JOB\\\" >> \\\"$JOBMGR_SHARE_DIR/ran\\\"\"},[],[]]],\"families\":{},\"graph\":{\"edges\":[[null,[\"fine\",\"bad\"]],[\"fine:succeeded\",[\"next\"]]],\"manual\":[]}}"');
INSERT INTO "meta" VALUES('uuid','"2edad61b-2ca9-4fd9-84f4-23a744e26e7a"');
CREATE TABLE outputs (
    cycle TEXT NOT NULL,
    task TEXT NOT NULL,
    output TEXT NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (cycle, task, output)
) WITHOUT ROWID;
INSERT INTO "outputs" VALUES('1','bad','started',1.79521154737186789513e+09);
INSERT INTO "outputs" VALUES('1','fine','started',1.79521154737186789513e+09);
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
CREATE TABLE specs (
    job_id INTEGER PRIMARY KEY REFERENCES jobs(id),
    spec TEXT NOT NULL                -- JSON: the item of the submit request
);
INSERT INTO "specs" VALUES(1,'{"runner": "background", "script": "echo \"$JOBMGR_JOB\" >> \"$JOBMGR_SHARE_DIR/ran\"\njobmgr-message \"half way | done\""}');
INSERT INTO "specs" VALUES(2,'{"runner": "background", "script": "echo \"$JOBMGR_JOB\" >> \"$JOBMGR_SHARE_DIR/ran\"; exit 3"}');
INSERT INTO "specs" VALUES(3,'{"runner": "background", "script": "echo \"$JOBMGR_JOB\" >> \"$JOBMGR_SHARE_DIR/ran\""}');
CREATE INDEX instances_state ON instances(state);
CREATE INDEX instances_version ON instances(version);
CREATE INDEX jobs_state ON jobs(state);
CREATE INDEX jobs_due ON jobs(next_poll) WHERE next_poll IS NOT NULL;
CREATE INDEX jobs_follow ON jobs(id)
    WHERE followed = 0 AND state IN ('succeeded', 'failed', 'submit-failed', 'killed');
CREATE INDEX jobs_resend ON jobs(id) WHERE resend = 1;
CREATE INDEX events_job ON events(job_id) WHERE job_id IS NOT NULL;
CREATE INDEX retrievals_state ON retrievals(state);
COMMIT;
