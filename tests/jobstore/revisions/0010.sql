-- What came with revision 0010: where a run failed, and a launcher's session that is over.
INSERT INTO node (name) VALUES ('node17');
UPDATE event SET node = 1 WHERE sequence = 1;
INSERT INTO ended_session
    (key, session_id, host, pid, owner, owner_key, create_us, end_us, nodes, job_mode, workflow_filter, launch) VALUES
  (0, '1f4a09c2-0000-4000-8000-0000000000e1', 'old', 7, 'old', 1, 1700000000000000, 1700000000000009, 4, 'auto', '', NULL);
